"""`Movable`: records of tensors that go from a loader to a device as one.

Floor 0. Graphs, their labels and their index tables are such records.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

_Record = TypeVar("_Record")  # the record itself: beartype refuses typing.Self in methods


@dataclass(frozen=True)
class Movable:
    """A frozen dataclass of tensors, further such records, tuples of these, and values."""

    def to(
        self: _Record,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        non_blocking: bool = False,
    ) -> _Record:
        """Copy to a device; ``dtype`` changes floating-point fields only."""

        def move(value: Any) -> Any:
            if isinstance(value, Movable):
                return value.to(device, dtype, non_blocking=non_blocking)
            if isinstance(value, tuple):
                return tuple(map(move, value))
            if not isinstance(value, Tensor):
                return value
            new = dtype if value.is_floating_point() else None
            return value.to(device=device, dtype=new, non_blocking=non_blocking)

        return _mapped(self, move)

    def pin_memory(self: _Record) -> _Record:
        """Copy to page-locked memory, from where a GPU fetches asynchronously."""

        def pin(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(pin, value))
            return value.pin_memory() if isinstance(value, Tensor | Movable) else value

        return _mapped(self, pin)


def _mapped(record: Any, change: Callable[[Any], Any]) -> Any:
    return replace(
        record, **{f.name: change(getattr(record, f.name)) for f in fields(record)}
    )
