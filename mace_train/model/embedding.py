"""What an atom is before it looks around: a learned vector for its element."""

from __future__ import annotations

import math

from jaxtyping import Float, Int
from torch import Tensor, nn

from mace_train.model.linear import Linear


class NodeEmbedding(nn.Module):
    """The first features of an atom: a learned vector for each element.

    Args:
        num_elements: Number of elements in the model's table.
        channels: Number of channels.
    """

    def __init__(self, num_elements: int, channels: int) -> None:
        super().__init__()
        self.num_elements = num_elements
        self.linear = Linear([num_elements], channels)

    def forward(
        self, element_index: Int[Tensor, " nodes"]
    ) -> Float[Tensor, "1 nodes channels"]:
        """The row of each atom's element: a linear map of one-hot vectors, looked up."""
        rows = self.linear.weight.view(self.num_elements, -1) / math.sqrt(self.num_elements)
        return rows.index_select(0, element_index)[None]
