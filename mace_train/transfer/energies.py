"""Other E0s in a model whose interactions stay what they are.

Floor 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from mace_train.model.mace import MACE
from mace_train.transfer.changed import changed_model


def with_atomic_energies(model: MACE, energies: Sequence[Sequence[float]]) -> MACE:
    """The model with other E0s.

    Args:
        model: Left as it is.
        energies: eV, for each head a list of the model's elements in its order.

    Returns:
        The new model, in evaluation mode.

    Raises:
        ValueError: If there is not one finite number for each head and element.
    """
    rows = [[float(energy) for energy in row] for row in energies]
    num_heads, num_elements = len(model.heads), len(model.elements)
    if [len(row) for row in rows] != [num_elements] * num_heads:
        raise ValueError(
            f"E0s for {[len(row) for row in rows]} elements of {len(rows)} heads: the "
            f"model has {num_elements} elements and the heads {', '.join(model.heads)}"
        )
    if not all(math.isfinite(energy) for row in rows for energy in row):
        raise ValueError(f"E0s must be finite numbers of eV: {rows}")
    name = "atomic_energies_fn.atomic_energies"
    # Not rounded to the weights' dtype on the way.
    state = {**model.state_dict(), name: torch.tensor(rows, dtype=torch.float64)}
    hyperparameters = {**model.hyperparameters, "atomic_energies": rows}
    return changed_model(model, hyperparameters, state)
