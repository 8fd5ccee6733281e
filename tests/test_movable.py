"""`Movable`: records move as one, and only floating-point numbers change their type."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mace_train.movable import Movable


@dataclass(frozen=True)
class Inner(Movable):
    values: Tensor
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Outer(Movable):
    index: Tensor
    inner: Inner
    absent: Inner | None = None


def record() -> Outer:
    return Outer(torch.tensor([1, 2]), Inner(torch.tensor([0.5]), (3, 4)))


def test_a_dtype_changes_floating_point_fields_only_at_every_depth():
    moved = record().to(dtype=torch.float64)
    assert moved.inner.values.dtype == torch.float64
    assert moved.index.dtype == torch.int64
    assert (moved.inner.sizes, moved.absent) == ((3, 4), None)


def test_a_device_takes_all_tensors_and_leaves_the_original():
    given = record()
    moved = given.to("meta", non_blocking=True)
    assert type(moved) is Outer
    assert {moved.index.device.type, moved.inner.values.device.type} == {"meta"}
    assert moved.inner.values.dtype == torch.float32
    assert given.inner.values.device.type == "cpu"


def test_pinning_reaches_every_tensor(monkeypatch):
    """Page-locked memory needs a GPU: count the calls."""
    pinned = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: pinned.append(self) or self)
    again = record().pin_memory()
    assert len(pinned) == 2
    assert again.inner.sizes == (3, 4)
