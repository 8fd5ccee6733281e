"""How torch computes while a command runs: formats and threads that are set, and set back.

Floor 6. TF32 is a choice of the trainer and stands there.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mace_train.model.backends import ChosenBackend


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


@contextmanager
def threads_for(backend: ChosenBackend) -> Iterator[None]:
    """One CPU thread where the backend's loops take one, unless OMP_NUM_THREADS is set.

    Between those loops lie many short operations, for which a second thread, woken each
    time, makes a step slower: 3.4 and not 2.0 ms an atom for the small MACE-MP-0.
    """
    before = torch.get_num_threads()
    if backend == "chunked" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
