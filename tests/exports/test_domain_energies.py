"""Energies of a domain: with and without ghosts, those of the whole."""

import pytest
import torch

from mace_train.exports.domain_energies import Domain, energies_and_gradient
from mace_train.graph import AtomicGraph


def domain_of(atoms, model):
    graph = AtomicGraph.from_atoms(atoms, elements=model.elements, r_max=model.r_max)
    sender, receiver = graph.edge_index
    vectors = graph.positions[receiver] - graph.positions[sender]
    return graph, Domain(graph.num_nodes, graph.element_index, graph.edge_index, vectors)


@pytest.mark.parametrize("backend", ["plain", "chunked"])
def test_without_ghosts_it_is_the_model(backend, small_mace, water):
    model = small_mace(pair_repulsion=True)
    model.backend = backend
    graph, domain = domain_of(water, model)
    energies, gradient = energies_and_gradient(model, domain, lambda rows: rows)
    expected = model(graph)
    torch.testing.assert_close(energies, expected.node_energies)
    sender, receiver = graph.edge_index
    forces = torch.zeros(3, 3, dtype=torch.float64)
    forces.index_add_(0, sender, gradient).index_add_(0, receiver, -gradient)
    torch.testing.assert_close(forces, expected.forces)


def test_features_are_handed_on_between_layers_only(small_mace, water):
    for num_layers in (1, 2, 3):
        model, widths = small_mace(num_interactions=num_layers), []

        def hand_on(rows, widths=widths):
            widths.append(tuple(rows.shape))
            return rows

        energies_and_gradient(model, domain_of(water, model)[1], hand_on)
        assert widths == [(3, model.layouts[0].dim)] * (num_layers - 1)


@pytest.mark.parametrize("backend", ["plain", "chunked"])
def test_a_process_without_atoms_takes_part(backend, small_mace):
    """It has to hand on nothing, since others wait for it."""
    model, calls = small_mace(), []
    model.backend = backend
    none = torch.zeros(2, 0, dtype=torch.int64)
    domain = Domain(0, none[0], none, torch.zeros(0, 3, dtype=torch.float64))

    class HandOn(torch.autograd.Function):
        @staticmethod
        def forward(ctx, rows):
            calls.append("forward")
            return rows.clone()

        @staticmethod
        def backward(ctx, gradient):
            calls.append("backward")
            return gradient

    energies, gradient = energies_and_gradient(model, domain, HandOn.apply)
    assert (energies.shape, gradient.shape) == ((0,), (0, 3))
    assert calls == ["forward", "backward"]
