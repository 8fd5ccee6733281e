import numpy as np
import pytest
import torch

from mace_train.graph import AtomicGraph
from mace_train.model.derivatives import stress_of
from mace_train.model.neighborhoods import Neighborhoods

BACKENDS = ["plain", "chunked"]


def graph_of(model, atoms):
    return AtomicGraph.from_atoms(atoms, elements=model.elements, r_max=model.r_max)


def test_only_what_is_asked_for_is_there(small_mace, crystal):
    model = small_mace()
    graph = graph_of(model, crystal)
    prediction = model(graph, compute_forces=False, compute_virials=True)
    assert prediction.virials is not None
    assert prediction.forces is None
    assert prediction.stress is None
    assert prediction.hessian is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_energies_alone_build_no_second_graph(backend, small_mace, crystal, monkeypatch):
    model = small_mace(backend=backend).train()
    monkeypatch.setattr(torch.autograd, "grad", None)
    prediction = model(graph_of(model, crystal), compute_forces=False)
    prediction.energy.sum().backward()
    assert model.get_parameter("readouts.0.linear.weight").grad is not None


@pytest.mark.parametrize("backend", BACKENDS)
def test_derivatives_are_the_same_without_gradients(backend, small_mace, crystal):
    model = small_mace(backend=backend)
    graph = graph_of(model, crystal)
    expected = model(graph, compute_stress=True)
    with torch.no_grad():
        found = model(graph, compute_stress=True)
    torch.testing.assert_close(found.forces, expected.forces, rtol=0, atol=0)
    torch.testing.assert_close(found.stress, expected.stress, rtol=0, atol=0)
    assert not found.energy.requires_grad


@pytest.mark.parametrize("backend", BACKENDS)
def test_training_mode_keeps_the_graph_of_forces(backend, small_mace, crystal):
    model = small_mace(backend=backend)
    graph = graph_of(model, crystal)
    assert not model(graph).forces.requires_grad
    assert model(graph, create_graph=True).forces.requires_grad
    assert model.train()(graph).forces.requires_grad
    with torch.no_grad():
        assert not model(graph).forces.requires_grad


@pytest.mark.parametrize("backend", BACKENDS)
def test_parameter_gradients_through_forces_and_stress_are_right(
    backend, small_mace, crystal
):
    """The derivative of a loss by weights, against differences of the loss."""
    model = small_mace(
        first_interaction="density", distance_transform="agnesi", backend=backend
    ).train()
    graph = graph_of(model, crystal)

    def loss():
        prediction = model(graph, compute_stress=True)
        forces, stress = prediction.forces.square().sum(), prediction.stress.square().sum()
        return prediction.energy.square().sum() + forces + 100 * stress

    loss().backward()
    rng = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        direction = torch.from_numpy(rng.normal(size=parameter.shape))
        expected = float((parameter.grad * direction).sum())
        values = []
        for step in (1e-5, -2e-5):
            parameter.data += step * direction
            values.append(float(loss().detach()))
        parameter.data += 1e-5 * direction
        found = (values[0] - values[1]) / 2e-5
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-5), name


def test_stress_is_zero_where_a_cell_has_no_volume(small_mace, water):
    model = small_mace()
    prediction = model(graph_of(model, water), compute_stress=True, compute_virials=True)
    assert (prediction.stress == 0).all()
    assert prediction.virials.abs().max() > 1e-3


def test_stress_is_the_negative_virial_over_the_volume():
    virials = torch.eye(3)[None] * 2
    cell = torch.diag(torch.tensor([2.0, 2.0, -4.0]))[None]
    torch.testing.assert_close(stress_of(virials, cell), -virials / 16)


@pytest.mark.parametrize("compute_hessian", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_empty_graph_has_empty_predictions(backend, compute_hessian, small_mace):
    model = small_mace(backend=backend).train()
    graph = AtomicGraph.empty()
    prediction = model(graph, compute_stress=True, compute_hessian=compute_hessian)
    assert prediction.energy.shape == (0,)
    assert prediction.forces.shape == (0, 3)
    assert prediction.stress.shape == (0, 3, 3)
    (prediction.forces.sum() + prediction.energy.sum() + prediction.stress.sum()).backward()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_atom_without_edges_trains(backend, small_mace, crystal):
    model = small_mace(backend=backend).train()
    prediction = model(graph_of(model, crystal[:1][[0]]), compute_stress=True)
    prediction.energy.sum().backward()
    single = crystal[:1]
    single.pbc, single.cell = False, None
    prediction = model(graph_of(model, single), compute_stress=True, compute_hessian=True)
    assert (prediction.hessian == 0).all()
    (prediction.energy.sum() + prediction.forces.sum()).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("backend", BACKENDS)
def test_positions_that_carry_gradients_keep_them(backend, small_mace, water):
    """An energy inside a larger differentiable program."""
    model = small_mace(backend=backend)
    graph = graph_of(model, water)
    positions = graph.positions.requires_grad_()
    energy = model(graph, compute_forces=False).energy.sum()
    (gradient,) = torch.autograd.grad(energy, positions)
    torch.testing.assert_close(-gradient, model(graph).forces)


def test_gradients_by_parameters_are_not_computed_for_forces(
    small_mace, crystal, monkeypatch
):
    """The running backward pass says what it is for, and all is wanted again after it."""
    seen = []
    grad = torch.autograd.grad

    def watched(energy, vectors, **options):
        seen.append(edges.scope.parameters)
        return grad(energy, vectors, **options)

    model = small_mace(backend="chunked").train()
    graph = graph_of(model, crystal)
    edges = Neighborhoods.of(graph)
    monkeypatch.setattr(torch.autograd, "grad", watched)
    monkeypatch.setattr(Neighborhoods, "of", lambda _: edges)
    prediction = model(graph)
    assert seen == [False]
    assert edges.scope.parameters
    prediction.energy.sum().backward()
    weights = [model.get_parameter(f"interactions.{i}.linear.weight") for i in (0, 1)]
    assert all(weight.grad.any() for weight in weights)
