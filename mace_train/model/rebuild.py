"""Rebuild a model from its constructor's arguments and a state dict, exactly or not at all.

All readers of files end here, so that a tensor that is missing, left over or of another
shape is the same clear error for each of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mace_train.model.irreps import Layout
from mace_train.model.mace import MACE

_SHOWN = 3
_EXACT = "atomic_energies_fn."  # in float64 beside weights of any dtype


def rebuild_model(
    hyperparameters: dict[str, Any],
    state: dict[str, Tensor],
    *,
    dtype: torch.dtype | None = None,
) -> MACE:
    """Build a model and fill it with weights.

    The global random state is left as it was.

    Args:
        hyperparameters: As in ``MACE.hyperparameters``.
        state: All tensors of ``MACE.state_dict()``.
        dtype: That of the weights if None. Constants of the model are exact in it.

    Returns:
        The model in evaluation mode.

    Raises:
        ValueError: If the arguments are not those of `MACE`, or the tensors do not fit; the
            message names the differences.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            _check_channels(hyperparameters, state)
            model = MACE(**hyperparameters)
        except (TypeError, KeyError) as error:
            raise ValueError(
                f"its architecture is not one of this version of mace-train: {error}"
            ) from error
    types = [
        tensor.dtype
        for name, tensor in state.items()
        if tensor.is_floating_point() and not name.startswith(_EXACT)
    ]
    model.to(dtype or next(iter(types), torch.float64))
    load_weights(model, state)
    return model.eval()


def load_weights(model: MACE, state: dict[str, Tensor]) -> None:
    """Copy weights into a model, in the model's dtype.

    Args:
        model: The model to fill, in place.
        state: All tensors of ``model.state_dict()``.

    Raises:
        ValueError: If a tensor is missing, left over or of another shape; nothing is copied
            then.
    """
    problems = _differences(model, state)
    if problems:
        raise ValueError(
            "its tensors do not fit its architecture, hidden_irreps="
            f"{model.hyperparameters['hidden_irreps']!r} with {len(model.elements)} "
            f"elements: {'; '.join(problems)}"
        )
    try:
        model.load_state_dict(state)
    except RuntimeError as error:  # only bases of files are left to disagree
        raise ValueError(f"its product basis does not fit its weights: {error}") from error


def _check_channels(hyperparameters: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Compare the claimed width with the weights before memory is taken for it."""
    claimed = Layout.from_irreps(hyperparameters["hidden_irreps"]).channels
    elements = len(hyperparameters["atomic_numbers"])
    weights = state.get("node_embedding.linear.weight")
    if weights is not None and weights.numel() != claimed * elements:
        raise ValueError(
            f"its architecture has {claimed} channels and {elements} elements, but its "
            f"node_embedding.linear.weight has {weights.numel()} numbers"
        )


def _differences(model: MACE, state: dict[str, Tensor]) -> list[str]:
    expected = model.state_dict()
    # A basis that comes from the file brings its own number of paths.
    is_free = model.hyperparameters["product_basis"] == "file"
    changed = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
        if not (is_free and "symmetric_contractions" in name)
    ]
    return [
        *_listed("missing", [name for name in expected if name not in state]),
        *_listed("not known", [name for name in state if name not in expected]),
        *_listed("of another shape", changed),
    ]


def _listed(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{what}: {', '.join(names[:_SHOWN])}{rest}"]
