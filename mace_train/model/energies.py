"""From readouts to energies: E0s of the elements, scale and shift, sums over atoms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class AtomicEnergies(nn.Module):
    """E0s: the energy of an isolated atom of each element, for each head.

    They stay in float64, whatever dtype the model is brought to.

    Args:
        atomic_energies: eV, one list of elements for each head.
    """

    atomic_energies: Tensor

    def __init__(self, atomic_energies: Sequence[Sequence[float]]) -> None:
        super().__init__()
        values = torch.tensor(atomic_energies, dtype=torch.float64)
        self.register_buffer("atomic_energies", values)

    def _apply(
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> AtomicEnergies:
        """What ``to`` and its like call: the device may change, the digits may not."""
        exact = self.atomic_energies
        super()._apply(fn, recurse)
        self.atomic_energies = exact.to(self.atomic_energies.device)
        return self

    def forward(
        self, element_index: Int[Tensor, " nodes"], head: Int[Tensor, " nodes"]
    ) -> Float[Tensor, " nodes"]:
        """The E0 of each atom, eV, in float64."""
        return self.atomic_energies[head, element_index]


class ScaleShift(nn.Module):
    """Brings node energies to eV: times the force scale, plus the mean energy of an atom.

    Args:
        scale: One number for each head, eV.
        shift: One number for each head, eV.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Sequence[float], shift: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float64))

    def forward(
        self, node_energies: Float[Tensor, " nodes"], head: Int[Tensor, " nodes"]
    ) -> Float[Tensor, " nodes"]:
        """Scaled and shifted node energies, eV, given the head of each atom."""
        dtype = node_energies.dtype
        return self.scale.to(dtype)[head] * node_energies + self.shift.to(dtype)[head]


def sum_over_atoms(
    node_energies: Float[Tensor, " nodes"],
    graph_index: Int[Tensor, " nodes"],
    num_graphs: int,
) -> Float[Tensor, " graphs"]:
    """Energy of each structure from those of its atoms."""
    zeros = node_energies.new_zeros(num_graphs)
    return zeros.index_add(0, graph_index, node_energies)
