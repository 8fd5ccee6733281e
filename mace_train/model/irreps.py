"""The one door to e3nn, and the layout of equivariant features.

Features are tensors (components, nodes, channels): all channels of one component lie
together, so that Clebsch-Gordan algebra moves whole rows and linear maps are plain matrix
products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

# e3nn 0.4.4 (which mace-torch pins) loads a file of constants that holds a slice when it is
# imported; torch >= 2.6 refuses that unless it is told that a slice is harmless.
with torch.serialization.safe_globals([slice]):
    from e3nn import o3

Irreps = o3.Irreps


def parsed(irreps: str, name: str) -> list[Any]:
    """The entries of irreps in the notation of e3nn, such as ``16x0e + 16x1o``.

    Raises:
        ValueError: If it is not that notation; the message begins with ``name``.
    """
    try:
        return list(Irreps(irreps))
    except ValueError as error:
        raise ValueError(
            f"{name}={irreps!r} is not in the notation of e3nn, such as '16x0e + 16x1o'"
        ) from error


@dataclass(frozen=True)
class Layout:
    """Which degrees l a feature tensor holds, all with the same number of channels.

    Parity is that of the spherical harmonics, (-1)^l, as in MACE.

    Args:
        channels: Number of channels of each degree.
        degrees: Ascending degrees l; each has 2l + 1 components.

    >>> layout = Layout.from_irreps("16x0e + 16x1o")
    >>> layout.channels, layout.degrees, layout.num_components
    (16, (0, 1), 4)
    """

    channels: int
    degrees: tuple[int, ...]

    @classmethod
    def from_irreps(cls, irreps: str) -> Layout:
        """Read e3nn's notation.

        Raises:
            ValueError: If the irreps do not begin with scalars, are not ascending in l,
                differ in their number of channels, or have a parity that MACE does not use.
        """
        entries = parsed(irreps, "hidden_irreps")
        degrees = [entry.ir.l for entry in entries]
        channels = {entry.mul for entry in entries}
        natural = all(entry.ir.p == (-1) ** entry.ir.l for entry in entries)
        if not natural or degrees[:1] != [0] or degrees != sorted(set(degrees)):
            raise ValueError(
                f"hidden_irreps={irreps!r} must be scalars first, then ascending l, with "
                "the parity of spherical harmonics, such as '128x0e + 128x1o + 128x2e'"
            )
        if len(channels) != 1 or 0 in channels:
            raise ValueError(
                f"hidden_irreps={irreps!r} must have the same number of channels for every "
                "l, since the product basis multiplies them channel by channel"
            )
        return cls(channels.pop(), tuple(degrees))

    @classmethod
    def up_to(cls, max_ell: int, channels: int) -> Layout:
        """All degrees from 0 to ``max_ell``."""
        return cls(channels, tuple(range(max_ell + 1)))

    @property
    def num_components(self) -> int:
        """Components of one channel."""
        return sum(2 * degree + 1 for degree in self.degrees)

    @property
    def dim(self) -> int:
        """Numbers per node."""
        return self.channels * self.num_components

    def split(
        self, features: Float[Tensor, "components nodes channels"]
    ) -> tuple[Float[Tensor, "_ nodes channels"], ...]:
        """The components of each degree, as views."""
        return features.split([2 * degree + 1 for degree in self.degrees])

    def to_e3nn(
        self, features: Float[Tensor, "components nodes channels"]
    ) -> Float[Tensor, "nodes dim"]:
        """Flatten in e3nn's order: degree, then channel, then component."""
        blocks = [block.permute(1, 2, 0).flatten(1) for block in self.split(features)]
        return torch.cat(blocks, dim=1)


def spherical_harmonics(
    edge_vectors: Float[Tensor, "edges 3"], max_ell: int
) -> Float[Tensor, "edges components"]:
    """Real spherical harmonics of the directions, l = 0 to ``max_ell``.

    Component normalization: the squares of the 2l + 1 components of a degree sum to 2l + 1.
    For l = 1 the components follow x, y, z.
    """
    return o3.spherical_harmonics(
        list(range(max_ell + 1)), edge_vectors, True, normalization="component"
    )
