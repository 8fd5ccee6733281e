"""Functions of the distance: Bessel basis, envelope, Agnesi transform, radial MLP."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from ase.data import covalent_radii
from jaxtyping import Float, Int
from torch import Tensor, nn

from mace_train.model.backends import ChosenBackend
from mace_train.model.chunked_perceptron import hidden_layers
from mace_train.model.neighborhoods import GradientScope

SILU_NORMALIZATION = 1.6791767923989418
"""Gives silu of a standard normal variable unit second moment.

It is the sampled estimate of e3nn, with which official weights were trained.
"""


def polynomial_envelope(
    edge_lengths: Float[Tensor, " edges"],
    r_max: float | Float[Tensor, " edges"],
    *,
    p: int,
) -> Float[Tensor, " edges"]:
    """Take every edge function smoothly to zero at the cutoff.

    The first and second derivatives vanish at ``r_max`` too, so that forces stay continuous
    while an atom crosses the cutoff sphere (arXiv:2003.03123, Eq. 8).

    Args:
        edge_lengths: Interatomic distances in Å.
        r_max: Cutoff radius in Å, one for all or one for each edge.
        p: Order of the polynomial; a larger one holds the envelope near 1 for longer.

    Returns:
        Dimensionless weights in [0, 1]; exactly 0 at and beyond ``r_max``.
    """
    u = edge_lengths / r_max
    bracket = (p + 1) * (p + 2) / 2 - u * (p * (p + 2) - u * (p * (p + 1) / 2))
    return (1 - u**p * bracket) * (edge_lengths < r_max)


class BesselBasis(nn.Module):
    """Spherical Bessel functions that vanish at the cutoff (arXiv:2003.03123, Eq. 7).

    Args:
        r_max: Cutoff in Å.
        num_radial_basis: Number of functions.
    """

    bessel_weights: Tensor
    prefactor: Tensor

    def __init__(self, r_max: float, num_radial_basis: int) -> None:
        super().__init__()
        n = torch.arange(1, num_radial_basis + 1, dtype=torch.float64)
        self.register_buffer("bessel_weights", n * math.pi / r_max)
        prefactor = torch.tensor(math.sqrt(2 / r_max), dtype=torch.float64)
        self.register_buffer("prefactor", prefactor)

    def forward(
        self, distances: Float[Tensor, " edges"]
    ) -> Float[Tensor, "edges num_radial_basis"]:
        """Evaluate all functions; distances are in Å, or transformed and dimensionless."""
        x = distances[:, None]
        waves = torch.sin(self.bessel_weights.to(x.dtype) * x)
        return waves * (self.prefactor.to(x.dtype) / x)


class AgnesiTransform(nn.Module):
    """Distances relative to the sizes of the atoms, in (0, 1] (doi:10.1063/5.0158783)."""

    q: Tensor
    p: Tensor
    a: Tensor
    covalent_radii: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, value in (("q", 0.9183), ("p", 4.5791), ("a", 1.0805)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))
        self.register_buffer("covalent_radii", torch.tensor(covalent_radii))

    def forward(
        self,
        edge_lengths: Float[Tensor, " edges"],
        sender_numbers: Int[Tensor, " edges"],
        receiver_numbers: Int[Tensor, " edges"],
    ) -> Float[Tensor, " edges"]:
        """Transform lengths in Å, given the atomic numbers at both ends of each edge.

        1 where atoms coincide, falling to 0 as they part, steepest near the sum of their
        covalent radii.
        """
        dtype = edge_lengths.dtype
        q, p, a = self.q.to(dtype), self.p.to(dtype), self.a.to(dtype)
        radii = self.covalent_radii.to(dtype)
        mean_radius = 0.5 * (radii[sender_numbers] + radii[receiver_numbers])
        s = edge_lengths / mean_radius
        return 1 / (1 + a * s**q / (1 + s ** (q - p)))


class RadialEmbedding(nn.Module):
    """Radial basis of each edge: Bessel functions times the envelope.

    Args:
        r_max: Cutoff in Å.
        num_radial_basis: Number of Bessel functions.
        cutoff_p: Order of the envelope.
        agnesi: Whether the Bessel functions see Agnesi-transformed distances.
    """

    def __init__(
        self, r_max: float, num_radial_basis: int, *, cutoff_p: int, agnesi: bool
    ) -> None:
        super().__init__()
        self.bessel_fn = BesselBasis(r_max, num_radial_basis)
        self.distance_transform = AgnesiTransform() if agnesi else None
        self.cutoff_p = cutoff_p
        self.r_max = r_max

    def forward(
        self,
        edge_lengths: Float[Tensor, " edges"],
        sender_numbers: Int[Tensor, " edges"],
        receiver_numbers: Int[Tensor, " edges"],
    ) -> Float[Tensor, "edges num_radial_basis"]:
        """Evaluate the basis at lengths in Å, given the atomic numbers at both ends.

        The envelope always acts on the true length.
        """
        envelope = polynomial_envelope(edge_lengths, self.r_max, p=self.cutoff_p)
        distances = edge_lengths
        if self.distance_transform is not None:
            distances = self.distance_transform(
                edge_lengths, sender_numbers, receiver_numbers
            )
        return self.bessel_fn(distances) * envelope[:, None]


class _Layer(nn.Module):
    """A matrix; a module of its own for its official name, ``layer0.weight``."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(fan_in, fan_out))


class RadialMLP(nn.Module):
    """A perceptron without biases: what is zero at the cutoff stays zero.

    Args:
        sizes: Number of inputs, of each hidden layer, and of outputs.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.num_layers = len(sizes) - 1
        for index, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            self.add_module(f"layer{index}", _Layer(fan_in, fan_out))

    def matrices(self) -> list[Float[Tensor, "_ _"]]:
        """The matrices of all layers, with the normalization of their inputs."""
        matrices = []
        for index in range(self.num_layers):
            # As an attribute, since it may be computed: `torch.nn.utils.parametrize`.
            weight = cast("_Layer", self.get_submodule(f"layer{index}")).weight
            gain = 1.0 if index == 0 else SILU_NORMALIZATION
            matrices.append(weight * (gain / math.sqrt(weight.shape[0])))
        return matrices

    def forward(
        self,
        radial_basis: Float[Tensor, "pairs num_radial_basis"],
        *,
        backend: ChosenBackend,
        scope: GradientScope,
    ) -> tuple[Float[Tensor, "pairs hidden"], Float[Tensor, "hidden outputs"]]:
        """Hidden activations and the matrix of the last layer.

        Their product is the output; it is left to the reader, for whom the product may be
        the largest array of all and need not exist as a whole.

        Args:
            radial_basis: Radial basis.
            backend: Implementation.
            scope: Which gradients a backward pass is for.
        """
        *hidden_matrices, last_matrix = self.matrices()
        if backend == "chunked":
            return hidden_layers(radial_basis, hidden_matrices, scope), last_matrix
        hidden = radial_basis
        for matrix in hidden_matrices:
            hidden = nn.functional.silu(hidden @ matrix)
        return hidden, last_matrix
