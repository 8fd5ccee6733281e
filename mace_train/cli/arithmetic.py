"""How torch computes while a command runs: number formats that are set, and set back.

Floor 4. TF32 is a choice of the trainer and stands there.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Constants and initial weights made in this dtype are exact to its last digit."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Take numbers below 1e-38 for zero: training makes them, and they slow a CPU."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
