"""Parcels: records of tensors go from one process to another as one block of memory.

Floor 0. A batch has some thirty tensors, and torch hands each to the other process by a
file descriptor of its own: for the process that trains, most of what a batch costs. All of
them in one block cost a third of that, and few descriptors are ever open.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

_ALIGNMENT = 64  # bytes


class _Slot(NamedTuple):
    """Where the numbers of a tensor lie in the block."""

    first: int
    shape: tuple[int, ...]
    dtype: torch.dtype


class _Record(NamedTuple):
    """A dataclass whose tensors are slots."""

    kind: type
    values: tuple[Any, ...]


def send_in_one_block(kind: type) -> None:
    """Let the records of a kind travel between processes as one block of shared memory.

    Copies and pickles that stay in a process or go to a file are what they were.

    Args:
        kind: A dataclass of tensors on the CPU, of further dataclasses, of tuples of these
            and of plain values.
    """
    assert is_dataclass(kind), kind
    ForkingPickler.register(kind, _reduced)


def _reduced(record: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The function that unpacks a record, and its arguments."""
    contents: list[tuple[_Slot, Tensor]] = []
    end = 0

    def take(value: Any) -> Any:
        nonlocal end
        if isinstance(value, Tensor):
            slot = _Slot(end, tuple(value.shape), value.dtype)
            contents.append((slot, value))
            end += -(-value.nbytes // _ALIGNMENT) * _ALIGNMENT
            return slot
        if type(value) is tuple:
            return tuple(map(take, value))
        if is_dataclass(value):
            values = (take(getattr(value, field.name)) for field in fields(value))
            return _Record(type(value), tuple(values))
        return value

    packed = take(record)
    block = torch.empty(end, dtype=torch.uint8)
    for slot, tensor in contents:
        _view(block, slot).copy_(tensor.detach())
    return _unpacked, (packed, block)


def _unpacked(packed: Any, block: Tensor) -> Any:
    """The record whose tensors are views of the block."""
    if isinstance(packed, _Slot):
        return _view(block, packed)
    if isinstance(packed, _Record):
        return packed.kind(*(_unpacked(value, block) for value in packed.values))
    if type(packed) is tuple:
        return tuple(_unpacked(value, block) for value in packed)
    return packed


def _view(block: Tensor, slot: _Slot) -> Tensor:
    count = torch.Size(slot.shape).numel() * slot.dtype.itemsize
    return block[slot.first : slot.first + count].view(slot.dtype).view(slot.shape)
