"""Readouts: the energy of each atom from its scalar features, one for each head."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from mace_train.model.linear import Linear
from mace_train.model.radial import SILU_NORMALIZATION


class LinearReadout(nn.Module):
    """Node energies linear in the scalar features; for all layers but the last.

    Args:
        channels: Number of scalar features.
        num_heads: Number of heads.
    """

    def __init__(self, channels: int, *, num_heads: int) -> None:
        super().__init__()
        self.linear = Linear([channels], num_heads)

    def forward(
        self, scalars: Float[Tensor, "1 nodes channels"], head: Int[Tensor, " nodes"]
    ) -> Float[Tensor, " nodes"]:
        """Energies before scale and shift, given the head of each atom."""
        return _of_head(self.linear([scalars])[0], head)


class GatedReadout(nn.Module):
    """Node energies from a perceptron with one hidden layer; for the last layer.

    Args:
        channels: Number of scalar features.
        hidden: Number of hidden units of each head.
        num_heads: Number of heads.
    """

    def __init__(self, channels: int, hidden: int, *, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.linear_1 = Linear([channels], num_heads * hidden)
        self.linear_2 = Linear([num_heads * hidden], num_heads)

    def forward(
        self, scalars: Float[Tensor, "1 nodes channels"], head: Int[Tensor, " nodes"]
    ) -> Float[Tensor, " nodes"]:
        """Energies before scale and shift, given the head of each atom."""
        hidden = nn.functional.silu(self.linear_1([scalars])) * SILU_NORMALIZATION
        if self.num_heads > 1:
            # Each head has its own hidden units: silence those of the others.
            mine = nn.functional.one_hot(head, self.num_heads).to(hidden.dtype)
            by_head = hidden.unflatten(2, (self.num_heads, -1))
            hidden = (by_head * mine[:, :, None]).flatten(2)
        return _of_head(self.linear_2([hidden])[0], head)


def _of_head(
    energies: Float[Tensor, "nodes heads"], head: Int[Tensor, " nodes"]
) -> Float[Tensor, " nodes"]:
    return energies.gather(1, head[:, None])[:, 0]
