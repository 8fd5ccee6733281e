"""Low-rank updates of all weights: LoRA (arXiv:2106.09685), equivariant.

Floor 2. Every weight W stays as it is, and what moves is a product of two thin matrices,

    W + A B / sqrt(rank),    A normal, B zero at first.

The factor (alpha = sqrt(rank), arXiv:2312.03732) makes a step of the optimizer move a
weight about as far as in the training of all weights, whatever the rank.
Weights mix channels (or weight paths of the product basis) of one degree, and never touch
its components, so any update of them keeps the symmetry of the model. There is an update
for each matrix: of each degree; in maps that depend on the element, also of each element,
so that elements without data stay what they were. A matrix too small for a product to save
numbers gets an update of its own shape.

All modules read the sum W + ... as their weight (`torch.nn.utils.parametrize`); a state
dict has W and the updates by names of their own, and `plain_state` adds them up.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mace_train.model.embedding import NodeEmbedding
from mace_train.model.linear import ElementLinear, Linear
from mace_train.model.mace import MACE
from mace_train.model.radial import RadialMLP
from mace_train.model.symmetric_contraction import Contraction
from mace_train.transfer.changed import changed_model

_UPDATE = re.compile(r"(.+)\.parametrizations\.(\w+)\.0\.blocks\.(\d+)\.(\w+)")
_ORIGINAL = re.compile(r"(.+)\.parametrizations\.(\w+)\.original")

_Shape = tuple[int, int, int]  # copies, rows, columns: a matrix for each copy


class LowRankUpdate(nn.Module):
    """Adds updates to a weight, each to one block of matrices.

    Args:
        shapes: Of each block: number of matrices, their rows and columns.
        rank: Of each product.
        random: Draws A.
    """

    def __init__(
        self, shapes: Sequence[_Shape], *, rank: int, random: torch.Generator
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _Block(shape, rank=rank, random=random) for shape in shapes
        )

    def forward(self, original: Tensor) -> Tensor:
        """The weight with its updates."""
        return _updated(original, [block.parts() for block in self.blocks])  # type: ignore[operator]


class _Block(nn.Module):
    """An update of matrices of one shape."""

    def __init__(self, shape: _Shape, *, rank: int, random: torch.Generator) -> None:
        super().__init__()
        copies, rows, columns = shape
        if rank * (rows + columns) < rows * columns:
            # Drawn in one dtype, so that a seed means the same in all.
            drawn = torch.randn(copies, rows, rank, generator=random, dtype=torch.float64)
            self.a = nn.Parameter(drawn.to(torch.get_default_dtype()))
            self.b = nn.Parameter(torch.zeros(copies, rank, columns))
        else:
            self.full = nn.Parameter(torch.zeros(shape))

    def parts(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return dict(self.named_parameters())


def add_low_rank_updates(model: MACE, *, rank: int, seed: int) -> None:
    """Freeze all weights of a model and give each an update, in place.

    The predictions are those from before, exactly, until the updates are trained.

    Args:
        model: Whose parameters are all frozen from now on, but for the updates.
        rank: Of the products.
        seed: Of the random numbers of A; the global random state is left as it is.

    Raises:
        ValueError: If the rank is not positive, or the model has updates already.
    """
    if rank < 1:
        raise ValueError(f"the rank of low-rank updates is {rank}: it must be at least 1")
    if has_updates(model):
        raise ValueError("the model has low-rank updates already: merge them first")
    random = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    for module, name, shapes in list(_weights(model)):
        weight = getattr(module, name)
        update = LowRankUpdate(shapes, rank=rank, random=random)
        update.to(device=weight.device, dtype=weight.dtype)
        parametrize.register_parametrization(module, name, update)


def has_updates(model: nn.Module) -> bool:
    """Whether a model has low-rank updates."""
    return any(isinstance(module, LowRankUpdate) for module in model.modules())


def merge(model: MACE) -> MACE:
    """The plain model that predicts what a model with updates predicts.

    Args:
        model: With or without updates; left as it is.

    Returns:
        A new model in evaluation mode, all of whose parameters are trainable.
    """
    return changed_model(model, model.hyperparameters, plain_state(model.state_dict()))


def plain_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the merged model, by their plain names.

    Args:
        state: State dict of a model with updates, or of any other, which comes back as is.
    """
    blocks: dict[str, dict[int, dict[str, Tensor]]] = {}
    for name, value in state.items():
        found = _UPDATE.fullmatch(name)
        if found:
            parts = blocks.setdefault(plain_name(name), {})
            parts.setdefault(int(found[3]), {})[found[4]] = value
    plain = {}
    for name, value in state.items():
        if _ORIGINAL.fullmatch(name):
            by_place = blocks[plain_name(name)]
            with torch.no_grad():
                parts = [by_place[place] for place in sorted(by_place)]
                plain[plain_name(name)] = _updated(value, parts)
        elif not _UPDATE.fullmatch(name):
            plain[name] = value
    return plain


def plain_name(name: str) -> str:
    """The name of the weight that a parameter is, or is a part of.

    >>> plain_name("readouts.0.linear.parametrizations.weight.0.blocks.0.a")
    'readouts.0.linear.weight'
    >>> plain_name("readouts.0.linear.weight")
    'readouts.0.linear.weight'
    """
    found = _UPDATE.fullmatch(name) or _ORIGINAL.fullmatch(name)
    return f"{found[1]}.{found[2]}" if found else name


def _updated(original: Tensor, blocks: Sequence[Mapping[str, Tensor]]) -> Tensor:
    updates = []
    for parts in blocks:
        if "full" in parts:
            update = parts["full"]
        else:
            a, b = parts["a"], parts["b"]
            update = a @ b / math.sqrt(b.shape[1])
        # Flat weights are (rows, copies, columns) in turn for each block.
        updates.append((update.transpose(0, 1) if original.ndim == 1 else update).flatten())
    flat = torch.cat(updates) if len(updates) > 1 else updates[0]
    return original + flat.view(original.shape)


def _weights(model: MACE) -> Iterator[tuple[nn.Module, str, list[_Shape]]]:
    """Every weight of a model: its module, its name there, the matrices it is made of."""
    embedding = model.node_embedding.linear
    for module in model.modules():
        if isinstance(module, NodeEmbedding):
            # A vector for each element, so that one without data keeps its own.
            yield embedding, "weight", [(module.num_elements, 1, module.linear.channels)]
        elif isinstance(module, Linear) and module is not embedding:
            yield module, "weight", [(1, n, module.channels) for n in module.fan_in]
        elif isinstance(module, ElementLinear):
            channels = module.layout_in.channels, module.layout_out.channels
            yield (
                module,
                "weight",
                [(module.num_elements, *channels)] * len(module.degrees),
            )
        elif isinstance(module, RadialMLP):
            for layer in module.children():
                rows, columns = layer.weight.shape  # type: ignore[union-attr, misc]
                yield layer, "weight", [(1, int(rows), int(columns))]
        elif isinstance(module, Contraction):
            yield module, "weights_max", [_three(module.weights_max)]
            for place, weight in enumerate(module.weights):
                yield module.weights, str(place), [_three(weight)]


def _three(weight: Float[Tensor, "elements paths channels"]) -> _Shape:
    elements, paths, channels = weight.shape
    return elements, paths, channels
