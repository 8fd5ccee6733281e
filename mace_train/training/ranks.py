"""What the ranks of a distributed run say to each other; one process is its own echo.

Floor 4. All ranks have to call these in the same order, so none stands in a branch that
only some ranks take.
"""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """Whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def is_first() -> bool:
    """Whether this process is rank zero, or the only one."""
    return not is_distributed() or dist.get_rank() == 0


def sum_over_ranks(values: Tensor) -> Tensor:
    """Replace values by their sum over all ranks, in place; bitwise equal everywhere."""
    if is_distributed():
        dist.all_reduce(values)
    return values


def gather_over_ranks(value: Any) -> list[Any]:
    """The values of all ranks, in order; plain objects only."""
    if not is_distributed():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
