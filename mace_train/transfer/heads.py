"""One head of a model with several, as a model of its own.

Floor 2. Heads share everything but E0s, scale, shift and readouts, so this drops numbers
and computes none anew, apart from one factor: a readout divides by the square root of what
it sums over, which are the hidden units of all heads.
"""

from __future__ import annotations

import math
import re

from torch import Tensor

from mace_train.model.mace import MACE
from mace_train.model.rebuild import rebuild_model


def with_one_head(model: MACE, head: str) -> MACE:
    """The model that predicts what ``model`` predicts with one of its heads.

    Args:
        model: Left as it is.
        head: One of its heads, whose name is kept.

    Raises:
        ValueError: If the model has no such head.
    """
    heads = list(model.heads)
    if head not in heads:
        raise ValueError(f"the model has no head {head!r}: it has {', '.join(heads)}")
    place = heads.index(head)
    hyperparameters = model.hyperparameters
    hyperparameters |= {
        name: [hyperparameters[name][place]]
        for name in ("heads", "atomic_energies", "scale", "shift")
    }
    shape = (len(heads), model.architecture.num_readout_hidden)
    state = {
        name: _of_head(name, value.detach(), place, shape=shape)
        for name, value in model.state_dict().items()
    }
    dtype = next(model.parameters()).dtype
    chosen = rebuild_model(hyperparameters, state, dtype=dtype)
    chosen.backend = model.backend
    return chosen


def _of_head(name: str, value: Tensor, place: int, *, shape: tuple[int, int]) -> Tensor:
    """What is left of a tensor, given how many heads and hidden units of each there are.

    Readouts keep their matrices flat; hidden units are counted head by head.
    """
    num_heads, num_hidden = shape
    if name.startswith(("atomic_energies_fn.", "scale_shift.")):
        return value[place : place + 1]
    if re.fullmatch(r"readouts\.\d+\.linear\.weight", name):
        return value.view(-1, num_heads)[:, place].flatten()
    if re.fullmatch(r"readouts\.\d+\.linear_1\.weight", name):
        return value.view(-1, num_heads, num_hidden)[:, place].flatten()
    if re.fullmatch(r"readouts\.\d+\.linear_2\.weight", name):
        weights = value.view(num_heads, num_hidden, num_heads)[place, :, place]
        return weights / math.sqrt(num_heads)
    return value
