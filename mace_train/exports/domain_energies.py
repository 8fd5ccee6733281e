"""Energies of the atoms that one process of a parallel program owns.

Floor 3. A program such as LAMMPS cuts space into domains. A process knows the atoms of its
domain and ghosts: copies of the neighbors that other processes, or periodic images, own. A
message needs the neighbors' features of the layer before, which only their owners can
compute; so features are handed on between the layers, and their gradients back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mace_train.index_tables import IndexTables
from mace_train.model.backends import chosen_backend
from mace_train.model.irreps import spherical_harmonics
from mace_train.model.mace import MACE
from mace_train.model.neighborhoods import Neighborhoods

HandOn = Callable[[Float[Tensor, "owned width"]], Float[Tensor, "nodes width"]]
"""From the features of owned atoms to those of owned atoms and ghosts; differentiable."""


@dataclass(frozen=True)
class Domain:
    """Owned atoms, then ghosts, and the edges to owned atoms.

    Attributes:
        num_owned: Number of owned atoms.
        element_index: Place of each atom's element in the model's table.
        edge_index: Row 0 the sender, owned or ghost; row 1 the receiver, owned.
        edge_vectors: Receiver minus sender, Å, for all edges closer than ``r_max``.
    """

    num_owned: int
    element_index: Int[Tensor, " nodes"]
    edge_index: Int[Tensor, "2 edges"]
    edge_vectors: Float[Tensor, "edges 3"]


def energies_and_gradient(
    model: MACE, domain: Domain, hand_on: HandOn
) -> tuple[Float[Tensor, " owned"], Float[Tensor, "edges 3"]]:
    """Energies of owned atoms, eV (float64), and a gradient by the vectors of edges, eV/Å.

    The gradient is that of the energy of all domains, since gradients come back from the
    ghosts' owners. Of two edges between the same owned atoms, one carries it for both.

    Args:
        model: With one head.
        domain: Atoms and edges of this process.
        hand_on: Called ``num_interactions - 1`` times, and its derivative as often.
    """
    no_shifts = torch.zeros_like(domain.edge_vectors)
    tables = IndexTables.build(domain.edge_index, no_shifts, domain.element_index)
    sender, receiver = domain.edge_index
    vectors = domain.edge_vectors.index_select(0, tables.pair_edge).requires_grad_()
    neighborhoods = Neighborhoods(
        pair_sender=sender.index_select(0, tables.pair_edge),
        pair_receiver=receiver.index_select(0, tables.pair_edge),
        pair_vectors=vectors,
        sender=sender,
        receiver=receiver,
        element_index=domain.element_index,
        tables=tables,
    )
    with torch.enable_grad():
        interaction, e0s = _owned_energies(model, neighborhoods, domain.num_owned, hand_on)
        neighborhoods.scope.parameters = False
        (by_pair,) = torch.autograd.grad(interaction.sum(), vectors)
    gradient = torch.zeros_like(domain.edge_vectors)
    gradient.index_copy_(0, tables.pair_edge, by_pair)
    return (interaction.double() + e0s).detach(), gradient


def _owned_energies(
    model: MACE, neighborhoods: Neighborhoods, num_owned: int, hand_on: HandOn
) -> tuple[Float[Tensor, " owned"], Float[Tensor, " owned"]]:
    """Interaction energies and E0s: `MACE.energies`, with ghosts between the layers."""
    vectors = neighborhoods.pair_vectors
    backend = chosen_backend(model.backend, vectors.device)
    numbers = torch.tensor(model.elements.atomic_numbers, device=vectors.device)
    numbers = numbers.index_select(0, neighborhoods.element_index)
    ends = (numbers[neighborhoods.pair_sender], numbers[neighborhoods.pair_receiver])
    edge_lengths = vectors.norm(dim=1)
    edge_attrs = spherical_harmonics(vectors, model.architecture.max_ell)
    radial_basis = model.radial_embedding(edge_lengths, *ends)

    owned = _owned_neighborhoods(neighborhoods, num_owned)
    head = torch.zeros_like(owned.element_index)
    readout_energies = vectors.new_zeros(num_owned)
    if model.pair_repulsion_fn is not None:
        repulsion = neighborhoods.of_edges(model.pair_repulsion_fn(edge_lengths, *ends))
        readout_energies = neighborhoods.sum_to_receivers(repulsion)[:num_owned]

    features = model.node_embedding(neighborhoods.element_index)
    parts = (model.interactions, model.products, model.readouts)
    for layer, (interaction, product, readout) in enumerate(zip(*parts)):
        if layer > 0:
            features = _with_ghosts(features, hand_on)
        message, residual = interaction(
            features, radial_basis, edge_attrs, neighborhoods, backend=backend
        )
        if residual is not None:
            residual = residual[:, :num_owned]
        features = product(message[:, :num_owned], residual, owned, backend=backend)
        readout_energies = readout_energies + readout(features[:1], head)
    e0s = model.atomic_energies_fn(owned.element_index, head)
    return model.scale_shift(readout_energies, head), e0s


def _with_ghosts(
    features: Float[Tensor, "components owned channels"], hand_on: HandOn
) -> Float[Tensor, "components nodes channels"]:
    rows = hand_on(features.transpose(0, 1).flatten(1).contiguous())
    return rows.unflatten(1, (features.shape[0], -1)).transpose(0, 1)


def _owned_neighborhoods(neighborhoods: Neighborhoods, num_owned: int) -> Neighborhoods:
    """What the product basis needs, which looks at atoms one by one."""
    element = neighborhoods.element_index[:num_owned]
    none = neighborhoods.sender[:0]
    shifts = neighborhoods.pair_vectors.detach()[:0]
    tables = IndexTables.build(none.expand(2, 0), shifts, element)
    return replace(neighborhoods, element_index=element, tables=tables)
