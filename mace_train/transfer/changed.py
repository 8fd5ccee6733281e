"""A model made of another one's tensors after a change of these.

Floor 2. What is no part of a model, dtype, device and backend, is handed on here for all
changes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mace_train.model.mace import MACE
from mace_train.model.rebuild import rebuild_model


def changed_model(
    model: MACE, hyperparameters: dict[str, Any], state: dict[str, Tensor]
) -> MACE:
    """Build a model beside another one, with its dtype, device and backend.

    Args:
        model: Left as it is.
        hyperparameters: Of the new model, as in ``MACE.hyperparameters``.
        state: All tensors of the new model; they are copied.

    Returns:
        The new model in evaluation mode; all of its parameters are trainable.

    Raises:
        ValueError: If tensors and arguments do not fit together.
    """
    parameter = next(model.parameters())
    changed = rebuild_model(hyperparameters, state, dtype=parameter.dtype)
    changed.backend = model.backend
    return changed.to(parameter.device)
