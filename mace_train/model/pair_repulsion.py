"""Ziegler-Biersack-Littmark repulsion of nuclei, for atoms closer than any in the data."""

from __future__ import annotations

import torch
from ase.data import covalent_radii
from jaxtyping import Float, Int
from torch import Tensor, nn

from mace_train.model.radial import polynomial_envelope

_COULOMB = 14.3996  # e^2 / (4 pi epsilon_0) in eV Å
_BOHR = 0.529  # Å, to the digits that official models use
_DECAYS = (3.2, 0.9423, 0.4028, 0.2016)


class ZBLRepulsion(nn.Module):
    """Screened Coulomb repulsion that ends where the atoms' covalent spheres part.

    Args:
        cutoff_p: Order of the polynomial envelope.
    """

    c: Tensor
    decays: Tensor
    covalent_radii: Tensor
    a_exp: Tensor
    a_prefactor: Tensor

    def __init__(self, cutoff_p: int) -> None:
        super().__init__()
        self.cutoff_p = cutoff_p
        coefficients = torch.tensor([0.1818, 0.5099, 0.2802, 0.02817], dtype=torch.float64)
        self.register_buffer("c", coefficients)
        decays = torch.tensor(_DECAYS, dtype=torch.float64)
        self.register_buffer("decays", decays, persistent=False)
        self.register_buffer("covalent_radii", torch.tensor(covalent_radii))
        self.register_buffer("a_exp", torch.tensor(0.300, dtype=torch.float64))
        self.register_buffer("a_prefactor", torch.tensor(0.4543, dtype=torch.float64))

    def forward(
        self,
        edge_lengths: Float[Tensor, " edges"],
        sender_numbers: Int[Tensor, " edges"],
        receiver_numbers: Int[Tensor, " edges"],
    ) -> Float[Tensor, " edges"]:
        """Half the repulsion of each pair, eV: what the receiver of the edge takes of it.

        Args:
            edge_lengths: Å.
            sender_numbers: Atomic numbers of the senders.
            receiver_numbers: Atomic numbers of the receivers.
        """
        dtype = edge_lengths.dtype
        charges = torch.arange(119, device=edge_lengths.device).to(dtype)
        screening = charges ** self.a_exp.to(dtype)
        length = (self.a_prefactor.to(dtype) * _BOHR) / (
            screening[sender_numbers] + screening[receiver_numbers]
        )
        decays = torch.exp(-(edge_lengths / length)[:, None] * self.decays.to(dtype))
        phi = decays @ self.c.to(dtype)
        coulomb = _COULOMB * charges[sender_numbers] * charges[receiver_numbers]
        radii = self.covalent_radii.to(dtype)
        contact = radii[sender_numbers] + radii[receiver_numbers]
        envelope = polynomial_envelope(edge_lengths, contact, p=self.cutoff_p)
        return 0.5 * coulomb / edge_lengths * phi * envelope
