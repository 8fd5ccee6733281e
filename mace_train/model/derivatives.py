"""What a model predicts: energies, and forces, stress and Hessian as their derivatives.

The energy knows the geometry through the vectors of pairs alone. A displacement of an atom
moves the vectors of its pairs; a strain takes every vector v to (1 + strain) v. So one
derivative by the vectors gives forces, virials and stress together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mace_train.graph import AtomicGraph
from mace_train.model.neighborhoods import Neighborhoods

_NO_VOLUME = 1e-6  # Å^3, far below any cell that spans space


@dataclass(frozen=True)
class Prediction:
    """What a model says of a graph. Derivatives that were not asked for are None.

    Attributes:
        energy: eV, with the E0s; in float64 whatever the model's dtype, since E0s of a
            thousand eV leave float32 no digits for what atoms say to each other.
        node_energies: Each atom's share of ``energy``, eV, in float64 as well.
        interaction_energy: eV, without the E0s, in the model's dtype.
        node_features: Descriptors: the features of all layers in turn, each in e3nn's
            order.
        forces: -dE/dpositions, eV/Å.
        virials: -dE/dstrain, eV, symmetric.
        stress: dE/dstrain / volume, eV/Å^3, positive in tension; 0 where a cell has no
            volume.
        hessian: d^2 E/dpositions^2, eV/Å^2.
    """

    energy: Float[Tensor, " graphs"]
    node_energies: Float[Tensor, " nodes"]
    interaction_energy: Float[Tensor, " graphs"]
    node_features: Float[Tensor, "nodes features"]
    forces: Float[Tensor, "nodes 3"] | None = None
    virials: Float[Tensor, "graphs 3 3"] | None = None
    stress: Float[Tensor, "graphs 3 3"] | None = None
    hessian: Float[Tensor, "nodes 3 nodes 3"] | None = None

    def detach(self) -> Prediction:
        """The same numbers without their history."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Prediction(
            **{name: value.detach() for name, value in values.items() if value is not None}
        )


Quantity = Literal["forces", "virials", "stress", "hessian"]


def differentiated(
    energies: Callable[[AtomicGraph, Neighborhoods], Prediction],
    graph: AtomicGraph,
    quantities: Collection[Quantity],
    *,
    create_graph: bool,
) -> Prediction:
    """Predict energies and the asked derivatives of the interaction energy.

    Gradients are switched on for the while, so this works under ``torch.no_grad`` too.

    Args:
        energies: Predicts the energies of a graph, given its edges.
        graph: The structures.
        quantities: What to compute beside the energies.
        create_graph: Whether the prediction itself is to be differentiated, as in training;
            otherwise all results are detached.
    """
    with torch.enable_grad():
        by_positions = "hessian" in quantities
        if by_positions and not graph.positions.requires_grad:
            graph = replace(graph, positions=graph.positions.detach().requires_grad_())
        neighborhoods = Neighborhoods.of(graph)
        if not neighborhoods.pair_vectors.requires_grad:
            neighborhoods.pair_vectors.requires_grad_()
        prediction = energies(graph, neighborhoods)
        neighborhoods.scope.parameters = False
        (gradient,) = torch.autograd.grad(
            prediction.interaction_energy.sum(),
            neighborhoods.pair_vectors,
            create_graph=create_graph or by_positions,
        )
        neighborhoods.scope.parameters = True
        results: dict[str, Tensor] = {}
        if "forces" in quantities or by_positions:
            results["forces"] = forces_of(gradient, neighborhoods)
        if "virials" in quantities or "stress" in quantities:
            results["virials"] = virials_of(gradient, neighborhoods, graph)
            results["stress"] = stress_of(results["virials"], graph.cell)
        if by_positions:
            results["hessian"] = hessian_of(
                results["forces"], graph.positions, create_graph=create_graph
            )
        asked = {name: value for name, value in results.items() if name in quantities}
        prediction = replace(prediction, **asked)
    return prediction if create_graph else prediction.detach()


def forces_of(
    gradient: Float[Tensor, "pairs 3"], neighborhoods: Neighborhoods
) -> Float[Tensor, "nodes 3"]:
    """Forces on the atoms, eV/Å; a pair vector is receiver minus sender."""
    zeros = gradient.new_zeros(neighborhoods.num_nodes, 3)
    pulled = zeros.index_add(0, neighborhoods.pair_sender, gradient)
    return pulled.index_add(0, neighborhoods.pair_receiver, -gradient)


def virials_of(
    gradient: Float[Tensor, "pairs 3"], neighborhoods: Neighborhoods, graph: AtomicGraph
) -> Float[Tensor, "graphs 3 3"]:
    """Virials -dE/dstrain of each structure, eV, for a symmetric strain."""
    products = neighborhoods.pair_vectors[:, :, None] * gradient[:, None, :]
    zeros = gradient.new_zeros(graph.num_graphs, 3, 3)
    graph_index = graph.graph_index.index_select(0, neighborhoods.pair_receiver)
    strain_derivative = zeros.index_add(0, graph_index, products)
    return -0.5 * (strain_derivative + strain_derivative.transpose(1, 2))


def stress_of(
    virials: Float[Tensor, "graphs 3 3"], cell: Float[Tensor, "graphs 3 3"]
) -> Float[Tensor, "graphs 3 3"]:
    """Stress in eV/Å^3, positive in tension; 0 where the cell has no volume."""
    first, second, third = cell.unbind(1)
    volume = (first * torch.linalg.cross(second, third)).sum(1).abs()
    has_volume = volume > _NO_VOLUME
    inverse = torch.where(has_volume, 1 / volume.clamp(min=_NO_VOLUME), 0)
    return -virials * inverse[:, None, None]


def hessian_of(
    forces: Float[Tensor, "nodes 3"],
    positions: Float[Tensor, "nodes 3"],
    *,
    create_graph: bool,
) -> Float[Tensor, "nodes 3 nodes 3"]:
    """Second derivative of the energy by positions, eV/Å^2, one row of forces at a time."""
    rows = []
    for force in forces.flatten():
        if force.requires_grad:
            (row,) = torch.autograd.grad(
                -force,
                positions,
                retain_graph=True,
                create_graph=create_graph,
                materialize_grads=True,
            )
        else:
            row = torch.zeros_like(positions)
        rows.append(row)
    if not rows:
        return positions.new_zeros(0, 3, 0, 3)
    return torch.stack(rows).unflatten(0, (-1, 3))
