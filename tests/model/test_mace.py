"""The whole model against mace-torch, for every kind; see make_variants.py."""

import copy

import pytest
import torch
from official_variants import (
    NUM_STRUCTURES,
    graph_of,
    load,
    official,
    structure,
    variants,
)

from mace_train.elements import MP0_ATOMIC_NUMBERS
from mace_train.graph import AtomicGraph
from mace_train.model import MACE

# Two programs that order the same sums differently, in float64, energies of order 10 eV.
EXACT = 1e-10
BACKENDS = ["plain", "chunked"]
MP0 = {
    "hidden_irreps": "128x0e + 128x1o",
    "max_ell": 3,
    "correlation": 3,
    "num_interactions": 2,
    "r_max": 6.0,
    "num_radial_basis": 10,
    "cutoff_p": 5,
    "radial_mlp": [64, 64, 64],
    "readout_hidden_irreps": "16x0e",
    "first_interaction": "residual",
    "interaction": "residual",
    "distance_transform": "none",
    "pair_repulsion": False,
    "atomic_numbers": MP0_ATOMIC_NUMBERS,
    "atomic_energies": [0.0] * 89,
    "avg_num_neighbors": 61.96,
    "scale": 0.8,
    "shift": 0.16,
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("variant", variants())
def test_predictions_are_those_of_mace_torch(variant, backend):
    model = load(variant)
    model.backend = backend
    for index in range(NUM_STRUCTURES):
        prediction = model(graph_of(model, index), compute_stress=True)
        expected = {
            name: torch.from_numpy(official()[f"{variant}/result/{index}/{name}"])
            for name in ("energy", "forces", "stress", "node_energy")
        }
        pairs = [
            (prediction.energy, expected["energy"]),
            (prediction.forces, expected["forces"]),
            (prediction.node_energies, expected["node_energy"]),
        ]
        if structure(index).pbc.all():
            pairs.append((prediction.stress, expected["stress"]))
        for found, value in pairs:
            torch.testing.assert_close(found, value, atol=EXACT, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("variant", ["tensors", "density_agnesi_zbl"])
def test_single_precision_agrees_to_its_digits(variant, backend):
    model = load(variant)
    model.backend = backend
    exact = model(graph_of(model, 1), compute_stress=True)
    single = model.to(torch.float32)
    found = single(graph_of(single, 1, torch.float32), compute_stress=True)
    assert found.forces.dtype == found.interaction_energy.dtype == torch.float32
    torch.testing.assert_close(found.energy, exact.energy, atol=0, rtol=1e-5)
    scale = float(exact.forces.abs().max())
    torch.testing.assert_close(
        found.forces.double(), exact.forces, atol=1e-4 * scale, rtol=0
    )


def test_large_e0s_cost_a_single_precision_model_no_digits():
    """All-electron energies: 35000 eV an atom, of which float32 knows 0.002."""
    exact = load("tensors")
    e0s = exact.atomic_energies_fn.atomic_energies
    e0s -= 35000.1
    single = copy.deepcopy(exact).to(torch.float32)
    assert torch.equal(single.atomic_energies_fn.atomic_energies, e0s)
    expected = exact(graph_of(exact, 1), compute_forces=False)
    found = single(graph_of(single, 1, torch.float32), compute_forces=False)
    assert found.energy.dtype == found.node_energies.dtype == torch.float64
    torch.testing.assert_close(found.energy, expected.energy, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        found.node_energies.sum(), found.energy[0], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"hidden_irreps": "128x0e"}, 3_847_696),
        ({}, 4_688_656),
        ({"hidden_irreps": "128x0e + 128x1o + 128x2e"}, 5_725_072),
        (
            {
                "first_interaction": "density",
                "interaction": "density_residual",
                "distance_transform": "agnesi",
                "pair_repulsion": True,
            },
            9_063_204,
        ),
    ],
    ids=["small", "medium", "large", "0b3"],
)
def test_published_models_have_their_number_of_parameters(changes, count):
    assert MACE(**{**MP0, **changes}).num_parameters == count


def test_initial_weights_have_unit_spread():
    model = MACE(**{**MP0, "hidden_irreps": "32x0e + 32x1o"})
    for name in ("interactions.0.linear.weight", "interactions.1.skip_tp.weight"):
        assert float(model.get_parameter(name).detach().std()) == pytest.approx(1, rel=0.02)


def test_a_model_is_rebuilt_from_its_hyperparameters(crystal, small_mace):
    model = small_mace(first_interaction="density", pair_repulsion=True)
    twin = MACE(**model.hyperparameters).to(torch.float64)
    twin.load_state_dict(model.state_dict())
    graph = AtomicGraph.from_atoms(crystal, elements=model.elements, r_max=model.r_max)
    assert torch.equal(twin(graph).energy, model(graph).energy)


def test_constants_are_exact_whatever_the_default_dtype(crystal, small_mace):
    """A float32 model turned to float64 has no rounded Clebsch-Gordan coefficients."""
    model = small_mace()
    torch.set_default_dtype(torch.float64)
    try:
        twin = MACE(**model.hyperparameters)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        for target, source in zip(twin.parameters(), model.parameters(), strict=True):
            target.copy_(source)
    graph = AtomicGraph.from_atoms(crystal, elements=model.elements, r_max=model.r_max)
    assert torch.equal(twin(graph).energy, model(graph).energy)


def test_heads_share_all_but_readouts_and_statistics(crystal, small_mace):
    model = small_mace(
        heads=["a", "b"],
        atomic_energies=[[-3.1, -7.2, -5.4], [-3.0, -7.0, -5.0]],
        scale=[0.8, 0.7],
        shift=[0.1, 0.2],
    )
    first, second = (
        AtomicGraph.from_atoms(crystal, elements=model.elements, r_max=4.0, head=head)
        for head in (0, 1)
    )
    alone = [model(graph) for graph in (first, second)]
    together = model(AtomicGraph.batch([first, second]))
    torch.testing.assert_close(alone[0].node_features, alone[1].node_features)
    assert (alone[0].energy - alone[1].energy).abs() > 0.1
    for index in (0, 1):
        torch.testing.assert_close(together.energy[index], alone[index].energy[0])


def test_descriptors_are_the_features_of_all_layers(crystal, small_mace):
    model = small_mace()
    graph = AtomicGraph.from_atoms(crystal, elements=model.elements, r_max=4.0)
    assert model(graph).node_features.shape == (5, 4 * 4 + 4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_is_deterministic(backend, crystal, small_mace):
    model = small_mace(backend=backend).train()
    graph = AtomicGraph.from_atoms(crystal, elements=model.elements, r_max=4.0)
    gradients = []
    for _ in range(2):
        model.zero_grad()
        model(graph, compute_stress=True).forces.square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))
