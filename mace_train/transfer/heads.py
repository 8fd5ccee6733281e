"""Heads of a model: one of several as a model of its own, and a new one beside it.

Floor 2. Heads share everything but E0s, scale, shift and readouts, so this drops or repeats
numbers and computes none anew, apart from one factor: a readout divides by the square root
of what it sums over, which are the hidden units of all heads.
"""

from __future__ import annotations

import math
import re
from typing import Literal

import torch
from torch import Tensor

from mace_train.model.mace import MACE
from mace_train.transfer.changed import changed_model

_OF_HEADS = ("heads", "atomic_energies", "scale", "shift")
_Readout = Literal["linear", "linear_1", "linear_2"]


def with_one_head(model: MACE, head: str) -> MACE:
    """The model that predicts what ``model`` predicts with one of its heads.

    Args:
        model: Left as it is.
        head: One of its heads, whose name is kept.

    Returns:
        The new model, in evaluation mode.

    Raises:
        ValueError: If the model has no such head.
    """
    heads = list(model.heads)
    if head not in heads:
        raise ValueError(f"the model has no head {head!r}: it has {', '.join(heads)}")
    place = heads.index(head)
    hyperparameters = model.hyperparameters
    hyperparameters |= {name: [hyperparameters[name][place]] for name in _OF_HEADS}
    shape = (len(heads), model.architecture.num_readout_hidden)
    state = {
        name: _of_head(name, value.detach(), place, shape=shape)
        for name, value in model.state_dict().items()
    }
    return changed_model(model, hyperparameters, state)


def with_new_head(model: MACE, name: str, *, of: str) -> MACE:
    """The model with two heads that both predict what one head of ``model`` does.

    Args:
        model: Left as it is.
        name: The new head, which comes first.
        of: The head whose E0s, scale, shift and readouts both heads begin with; it keeps
            its name. Other heads are left out.

    Returns:
        The new model, in evaluation mode.

    Raises:
        ValueError: If the model has no head ``of``, or has one of the new name.
    """
    if name in model.heads:
        raise ValueError(
            f"the model already has a head {name!r} (it has {', '.join(model.heads)}): "
            "choose another name for the new one"
        )
    alone = with_one_head(model, of)
    hyperparameters = alone.hyperparameters
    hyperparameters |= {key: hyperparameters[key] * 2 for key in _OF_HEADS}
    hyperparameters["heads"] = [name, of]
    num_hidden = model.architecture.num_readout_hidden
    state = {
        key: _twice(key, value.detach(), num_hidden=num_hidden)
        for key, value in alone.state_dict().items()
    }
    return changed_model(model, hyperparameters, state)


def _of_head(name: str, value: Tensor, place: int, *, shape: tuple[int, int]) -> Tensor:
    """What is left of a tensor, given how many heads and hidden units of each there are.

    Readouts keep their matrices flat; hidden units are counted head by head.
    """
    num_heads, num_hidden = shape
    if _has_row_of_each_head(name):
        return value[place : place + 1]
    kind = _readout_kind(name)
    if kind == "linear":
        return value.view(-1, num_heads)[:, place].flatten()
    if kind == "linear_1":
        return value.view(-1, num_heads, num_hidden)[:, place].flatten()
    if kind == "linear_2":
        weights = value.view(num_heads, num_hidden, num_heads)[place, :, place]
        return weights / math.sqrt(num_heads)
    return value


def _twice(name: str, value: Tensor, *, num_hidden: int) -> Tensor:
    """A tensor of a model with one head, for two heads alike."""
    if _has_row_of_each_head(name):
        return torch.cat([value, value])
    kind = _readout_kind(name)
    if kind == "linear":
        return value[:, None].expand(-1, 2).flatten()
    if kind == "linear_1":
        return value.view(-1, 1, num_hidden).expand(-1, 2, -1).flatten()
    if kind == "linear_2":
        # A head never hears the other's hidden units: those weights are of no effect.
        weights = value.new_zeros(2, num_hidden, 2)
        weights[0, :, 0] = weights[1, :, 1] = value * math.sqrt(2)
        return weights.flatten()
    return value


def _has_row_of_each_head(name: str) -> bool:
    return name.startswith(("atomic_energies_fn.", "scale_shift."))


def _readout_kind(name: str) -> _Readout | None:
    found = re.fullmatch(r"readouts\.\d+\.(linear|linear_1|linear_2)\.weight", name)
    return found[1] if found else None  # type: ignore[return-value] - of these three
