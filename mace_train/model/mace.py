"""`MACE`: the constructor and a forward that reads like the paper (arXiv:2206.07697).

Exactly ScaleShiftMACE of mace-torch: with the same weights, the same energies, forces and
stress.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from mace_train.graph import AtomicGraph
from mace_train.model.architecture import (
    Architecture,
    DistanceTransform,
    ProductBasisSource,
    by_head,
    energies_by_head,
)
from mace_train.model.backends import Backend, chosen_backend
from mace_train.model.compiled_energies import CompiledEnergies, compiles
from mace_train.model.derivatives import Prediction, Quantity, differentiated
from mace_train.model.embedding import NodeEmbedding
from mace_train.model.energies import AtomicEnergies, ScaleShift, sum_over_atoms
from mace_train.model.interaction import Interaction, InteractionKind
from mace_train.model.irreps import Layout, spherical_harmonics
from mace_train.model.neighborhoods import Neighborhoods
from mace_train.model.pair_repulsion import ZBLRepulsion
from mace_train.model.radial import RadialEmbedding
from mace_train.model.readout import GatedReadout, LinearReadout
from mace_train.model.symmetric_contraction import ProductBasis


class MACE(nn.Module):
    """Interatomic potential of higher-order equivariant message passing.

    The arguments are those of the ``model`` group of the configuration, then what the
    training data decide. Parameters carry the names and shapes of official mace-torch
    files.

    Args:
        hidden_irreps: Node features between layers, such as ``128x0e + 128x1o``.
        max_ell: Highest degree of the edges' spherical harmonics, up to 4.
        correlation: Body order of the product basis minus one, 1 to 3.
        num_interactions: Number of layers.
        r_max: Cutoff in Å.
        num_radial_basis: Number of Bessel functions.
        cutoff_p: Order of the polynomial envelope.
        radial_mlp: Sizes of the hidden layers of the radial perceptrons.
        readout_hidden_irreps: Hidden scalars of the last readout, such as ``16x0e``.
        first_interaction: Kind of the first layer's interaction, see `Interaction`.
        interaction: Kind of the others.
        distance_transform: Whether Bessel functions see Agnesi-transformed distances.
        pair_repulsion: Whether ZBL repulsion is added.
        atomic_numbers: The elements, ascending.
        atomic_energies: E0s in eV, a list of elements; with several heads one for each.
        avg_num_neighbors: Mean number of neighbors in the training set.
        scale: Of interaction energies, eV; with several heads one for each.
        shift: Of interaction energies, eV an atom; with several heads one for each.
        heads: Names of the heads: levels of theory that share all but the readouts.
        product_basis: ``own``, or ``file`` to take the tensors U of the product basis, and
            how many paths they have, from the state dict that will be loaded.
        backend: Implementation of the costly operations, see `backends.py`; not a part of
            the model, and of no file.

    Raises:
        ValueError: If an argument is out of range or two do not fit together.
    """

    def __init__(
        self,
        *,
        hidden_irreps: str,
        max_ell: int,
        correlation: int,
        num_interactions: int,
        r_max: float,
        num_radial_basis: int,
        cutoff_p: int,
        radial_mlp: Sequence[int],
        readout_hidden_irreps: str,
        first_interaction: InteractionKind,
        interaction: InteractionKind,
        distance_transform: DistanceTransform,
        pair_repulsion: bool,
        atomic_numbers: Sequence[int],
        atomic_energies: Sequence[Sequence[float]] | Sequence[float],
        avg_num_neighbors: float,
        scale: Sequence[float] | float,
        shift: Sequence[float] | float,
        heads: Sequence[str] = ("Default",),
        product_basis: ProductBasisSource = "own",
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.architecture = Architecture(
            hidden_irreps=hidden_irreps,
            max_ell=int(max_ell),
            correlation=int(correlation),
            num_interactions=int(num_interactions),
            r_max=float(r_max),
            num_radial_basis=int(num_radial_basis),
            cutoff_p=int(cutoff_p),
            radial_mlp=[int(size) for size in radial_mlp],
            readout_hidden_irreps=readout_hidden_irreps,
            first_interaction=first_interaction,
            interaction=interaction,
            distance_transform=distance_transform,
            pair_repulsion=bool(pair_repulsion),
            atomic_numbers=[int(number) for number in atomic_numbers],
            atomic_energies=energies_by_head(atomic_energies),
            avg_num_neighbors=float(avg_num_neighbors),
            scale=by_head(scale),
            shift=by_head(shift),
            heads=list(heads),
            product_basis=product_basis,
        )
        self.backend: Backend = backend
        self._compiled: CompiledEnergies | None = None
        self._build(self.architecture)

    def _build(self, given: Architecture) -> None:
        self.elements = given.elements
        self.heads = tuple(given.heads)
        self.r_max = given.r_max
        hidden = given.layout
        self.atomic_energies_fn = AtomicEnergies(given.atomic_energies)
        self.node_embedding = NodeEmbedding(len(self.elements), hidden.channels)
        self.radial_embedding = RadialEmbedding(
            given.r_max,
            given.num_radial_basis,
            cutoff_p=given.cutoff_p,
            agnesi=given.distance_transform == "agnesi",
        )
        self.pair_repulsion_fn = (
            ZBLRepulsion(given.cutoff_p) if given.pair_repulsion else None
        )
        self.interactions = nn.ModuleList()
        self.products = nn.ModuleList()
        self.readouts = nn.ModuleList()
        # Only scalars enter the first layer and leave the last.
        scalars = Layout(hidden.channels, (0,))
        between = [hidden] * (given.num_interactions - 1)
        self.layouts = [*between, scalars]
        for layer, ends in enumerate(pairwise([scalars, *self.layouts])):
            self._add_layer(layer, *ends)
        self.scale_shift = ScaleShift(given.scale, given.shift)

    def _add_layer(self, layer: int, layout_in: Layout, layout_out: Layout) -> None:
        given, num_elements = self.architecture, len(self.elements)
        interaction = Interaction(
            given.first_interaction if layer == 0 else given.interaction,
            layout_in=layout_in,
            layout_out=layout_out,
            max_ell=given.max_ell,
            num_radial_basis=given.num_radial_basis,
            radial_mlp=given.radial_mlp,
            num_elements=num_elements,
            avg_num_neighbors=given.avg_num_neighbors,
            alike_by_element=layer == 0,
        )
        product = ProductBasis(
            given.max_ell,
            layout_out,
            correlation=given.correlation,
            num_elements=num_elements,
            basis_from_file=given.product_basis == "file",
        )
        is_gated = 0 < layer == given.num_interactions - 1
        channels, num_heads = layout_out.channels, len(self.heads)
        readout = (
            GatedReadout(channels, given.num_readout_hidden, num_heads=num_heads)
            if is_gated
            else LinearReadout(channels, num_heads=num_heads)
        )
        self.interactions.append(interaction)
        self.products.append(product)
        self.readouts.append(readout)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The constructor's arguments, of types that JSON knows."""
        return self.architecture.as_dict()

    @property
    def num_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(
        self,
        graph: AtomicGraph,
        *,
        compute_forces: bool = True,
        compute_stress: bool = False,
        compute_virials: bool = False,
        compute_hessian: bool = False,
        create_graph: bool | None = None,
    ) -> Prediction:
        """Predict energies and, where asked for, their derivatives.

        Args:
            graph: Structures whose elements the model knows, with edges up to ``r_max``, in
                the dtype of the model's parameters.
            compute_forces: Also forces.
            compute_stress: Also stress.
            compute_virials: Also virials.
            compute_hessian: Also the Hessian; a derivative for each coordinate.
            create_graph: Whether to keep what it takes to differentiate the prediction
                again, as a loss on forces needs; by default only in training mode with
                gradients on. Without it, derivatives leave all results detached.
        """
        if create_graph is None:
            create_graph = self.training and torch.is_grad_enabled()
        wanted: dict[Quantity, bool] = {
            "forces": compute_forces,
            "virials": compute_virials,
            "stress": compute_stress,
            "hessian": compute_hessian,
        }
        quantities: list[Quantity] = [name for name, asked in wanted.items() if asked]
        if not quantities:
            return self.energies(graph, Neighborhoods.of(graph))
        energies = self.energies
        device = graph.positions.device
        if not (create_graph or compute_hessian) and compiles(self.backend, device):
            energies = self._compiled = self._compiled or CompiledEnergies(self.energies)
        return differentiated(energies, graph, quantities, create_graph=create_graph)

    def __getstate__(self) -> dict[str, Any]:
        """Copies are compiled anew: compiled code belongs to one set of weights."""
        return {**self.__dict__, "_compiled": None}

    def energies(self, graph: AtomicGraph, neighborhoods: Neighborhoods) -> Prediction:
        """Predict energies: the whole of MACE, without derivatives.

        Args:
            graph: The structures.
            neighborhoods: Their edges; the only way in which positions enter.
        """
        element, head = graph.element_index, graph.head.index_select(0, graph.graph_index)
        backend = chosen_backend(self.backend, graph.positions.device)
        edge_lengths = neighborhoods.pair_vectors.norm(dim=1)
        edge_attrs = spherical_harmonics(
            neighborhoods.pair_vectors, self.architecture.max_ell
        )
        ends = (
            graph.atomic_numbers.index_select(0, neighborhoods.pair_sender),
            graph.atomic_numbers.index_select(0, neighborhoods.pair_receiver),
        )
        radial_basis = self.radial_embedding(edge_lengths, *ends)

        readout_energies = edge_lengths.new_zeros(graph.num_nodes)
        if self.pair_repulsion_fn is not None:
            repulsion = self.pair_repulsion_fn(edge_lengths, *ends)
            readout_energies = neighborhoods.sum_to_receivers(
                neighborhoods.of_edges(repulsion)
            )

        features = self.node_embedding(element)
        descriptors = []
        for interaction, product, readout, layout in zip(
            self.interactions, self.products, self.readouts, self.layouts
        ):
            message, residual = interaction(
                features, radial_basis, edge_attrs, neighborhoods, backend=backend
            )
            features = product(message, residual, neighborhoods, backend=backend)
            readout_energies = readout_energies + readout(features[:1], head)
            descriptors.append(layout.to_e3nn(features))

        interaction_energies = self.scale_shift(readout_energies, head)
        e0s = self.atomic_energies_fn(element, head)
        interaction_energy = sum_over_atoms(
            interaction_energies, graph.graph_index, graph.num_graphs
        )
        return Prediction(
            energy=interaction_energy.double()
            + sum_over_atoms(e0s, graph.graph_index, graph.num_graphs),
            node_energies=interaction_energies.double() + e0s,
            interaction_energy=interaction_energy,
            node_features=torch.cat(descriptors, dim=1),
        )
