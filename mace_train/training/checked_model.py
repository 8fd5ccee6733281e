"""A model as the potential that the physical checks ask.

Floor 4, the first that knows both models and `physics/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mace_train.calculator import MACECalculator
from mace_train.physics.potential import Potential

if TYPE_CHECKING:
    from mace_train.model.mace import MACE
    from mace_train.physics.potential import Dtype


def potential_of(model: MACE, *, head: str | None = None) -> Potential:
    """A model as an ASE calculator, with its cutoff, layers and number format.

    Args:
        model: Used as it is, on its device and in its dtype.
        head: Which head gives the energy; None: the only one.

    Raises:
        ValueError: If the head is missing or unknown.
    """
    return Potential(
        MACECalculator(model, head=head),
        r_max=model.r_max,
        num_interactions=model.hyperparameters["num_interactions"],
        dtype=name_of_dtype(next(model.parameters()).dtype),
    )


def name_of_dtype(dtype: torch.dtype) -> Dtype:
    """``float32`` or ``float64``.

    >>> name_of_dtype(torch.float64)
    'float64'
    """
    return "float64" if dtype == torch.float64 else "float32"
