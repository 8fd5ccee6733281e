"""Linear maps between equivariant features: one matrix for all components of a degree.

Weights are stored flat and named as in official files; a map divides by the square root of
what it sums over, so that unit weights keep unit variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mace_train.index_tables import ElementBlocks
from mace_train.model.irreps import Layout


class Linear(nn.Module):
    """Mix the channels of each degree.

    Args:
        fan_in: Number of input channels of each degree, in order.
        channels: Number of output channels of every degree.
    """

    def __init__(self, fan_in: Sequence[int], channels: int) -> None:
        super().__init__()
        self.fan_in = tuple(fan_in)
        self.channels = channels
        self.weight = nn.Parameter(torch.randn(sum(self.fan_in) * channels))

    def forward(
        self, blocks: Sequence[Float[Tensor, "_ nodes _"]]
    ) -> Float[Tensor, "components nodes channels"]:
        """Map the blocks of the degrees, each (2 degree + 1, nodes, fan_in)."""
        weights = self.weight.split([fan_in * self.channels for fan_in in self.fan_in])
        mapped = []
        for block, fan_in, weight in zip(blocks, self.fan_in, weights):
            matrix = weight.view(fan_in, self.channels) / math.sqrt(fan_in)
            mapped.append(block @ matrix)
        return torch.cat(mapped) if len(mapped) > 1 else mapped[0]


class ElementLinear(nn.Module):
    """Mix the channels of each degree with matrices of the atom's element.

    A degree of the output that the input lacks is zero.

    Args:
        layout_in: Degrees and channels of the input.
        layout_out: Degrees and channels of the output.
        num_elements: Number of elements in the model's table.
    """

    def __init__(self, layout_in: Layout, layout_out: Layout, *, num_elements: int) -> None:
        super().__init__()
        self.layout_in = layout_in
        self.layout_out = layout_out
        self.num_elements = num_elements
        shared = set(layout_in.degrees) & set(layout_out.degrees)
        self.degrees = tuple(sorted(shared))
        size = layout_in.channels * num_elements * layout_out.channels
        self.weight = nn.Parameter(torch.randn(len(self.degrees) * size))

    def forward(
        self,
        features: Float[Tensor, "components nodes channels"],
        elements: ElementBlocks,
    ) -> Float[Tensor, "components_out nodes channels_out"]:
        """Map the features of atoms, block by block of one element."""
        channels_in, channels_out = self.layout_in.channels, self.layout_out.channels
        scale = 1 / math.sqrt(channels_in * self.num_elements)
        weights = self.weight.view(
            len(self.degrees), channels_in, self.num_elements, channels_out
        )
        element = elements.present.index_select(0, elements.block)
        matrices = weights.index_select(2, element).permute(0, 2, 1, 3) * scale
        in_blocks = dict(zip(self.layout_in.degrees, self.layout_in.split(features)))
        atoms = elements.atom.flatten()
        mapped = []
        for degree in self.layout_out.degrees:
            if degree not in self.degrees:
                shape = (2 * degree + 1, features.shape[1], channels_out)
                mapped.append(features.new_zeros(shape))
                continue
            dealt = in_blocks[degree].index_select(1, atoms)
            dealt = dealt.view(2 * degree + 1, *elements.atom.shape, channels_in)
            product = dealt @ matrices[self.degrees.index(degree)]
            mapped.append(product.flatten(1, 2).index_select(1, elements.slot))
        return torch.cat(mapped) if len(mapped) > 1 else mapped[0]
