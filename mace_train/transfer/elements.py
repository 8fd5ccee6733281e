"""Fewer elements: the part of a model that the user's elements need.

Floor 2. Maps of one-hot vectors of elements divide by the square root of the number of
elements, so their weights are multiplied to make up for it; all else is dropped or kept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import torch
from ase.data import chemical_symbols
from jaxtyping import Int
from torch import Tensor

from mace_train.model.linear import ElementLinear
from mace_train.model.mace import MACE
from mace_train.transfer.changed import changed_model


def keep_elements(model: MACE, atomic_numbers: Iterable[int]) -> MACE:
    """The model for some of its elements, for which it predicts what ``model`` predicts.

    Args:
        model: Left as it is.
        atomic_numbers: The elements to keep, in any order.

    Returns:
        The new model, in evaluation mode, with ascending elements.

    Raises:
        ValueError: If there is no element to keep, or the model does not know one.
    """
    asked = sorted({int(number) for number in atomic_numbers})
    known = list(model.elements.atomic_numbers)
    unknown = [number for number in asked if number not in known]
    if unknown:
        raise ValueError(
            f"the model does not know {_symbols(unknown)}: it knows {_symbols(known)}. "
            "Leave out frames with other elements, or begin with a model that knows them"
        )
    if not asked:
        raise ValueError(f"no element to keep: name some of {_symbols(known)}")
    kept = torch.tensor([known.index(number) for number in asked])
    hyperparameters = model.hyperparameters
    hyperparameters["atomic_numbers"] = asked
    hyperparameters["atomic_energies"] = [
        [energies[place] for place in kept.tolist()]
        for energies in hyperparameters["atomic_energies"]
    ]
    state = {
        name: _of_elements(model, name, value.detach(), kept)
        for name, value in model.state_dict().items()
    }
    return changed_model(model, hyperparameters, state)


def _of_elements(
    model: MACE, name: str, value: Tensor, kept: Int[Tensor, " kept"]
) -> Tensor:
    """What is left of a tensor."""
    num_elements = len(model.elements)
    kept = kept.to(value.device)
    factor = math.sqrt(len(kept) / num_elements)
    if name == "atomic_energies_fn.atomic_energies":
        return value.index_select(1, kept)
    if name == "node_embedding.linear.weight":
        return value.view(num_elements, -1).index_select(0, kept).flatten() * factor
    if re.fullmatch(r"interactions\.\d+\.skip_tp\.weight", name):
        module = model.get_submodule(name.removesuffix(".weight"))
        assert isinstance(module, ElementLinear)
        channels = module.layout_in.channels, module.layout_out.channels
        matrices = value.view(-1, channels[0], num_elements, channels[1])
        return matrices.index_select(2, kept).flatten() * factor
    if re.fullmatch(r"products\.\d+\..*\.weights(_max|\.\d+)", name):
        return value.index_select(0, kept)
    return value


def _symbols(numbers: Iterable[int]) -> str:
    """Elements by symbol; what is none, by its number."""
    count = len(chemical_symbols)
    return ", ".join(chemical_symbols[n] if 0 < n < count else str(n) for n in numbers)
