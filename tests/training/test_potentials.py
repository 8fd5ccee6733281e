import numpy as np
import pytest
import torch
from ase.calculators.calculator import Calculator, all_changes
from small_crystals import (
    R_MAX,
    isolated_atom,
    lennard_jones,
    make_frame,
    small_model,
    store_of,
)

from mace_train.data.dataset import GraphDataset
from mace_train.training.potentials import CalculatorPotential, ModelPotential
from mace_train.training.predictions import FrameFailure


@pytest.fixture
def store(tmp_path):
    """Six crystals and molecules and an isolated atom, without any label."""
    frames = [make_frame(i, molecule=i % 3 == 2) for i in range(6)]
    frames.insert(4, isolated_atom("O", -1.0))
    for atoms in frames:
        atoms.info.clear()
        del atoms.arrays["forces"]
    return store_of(tmp_path, frames)


def graphs(store, dtype=torch.float64):
    elements = small_model().elements
    indices = np.arange(len(store))
    return GraphDataset(store, indices, elements=elements, r_max=R_MAX, dtype=dtype)


def model():
    return small_model().eval()


def assert_close(one, other, *, tolerance=1e-12):
    for mine, expected in zip(one, other, strict=True):
        assert mine.energy == pytest.approx(expected.energy, rel=tolerance)
        assert np.allclose(mine.forces, expected.forces, atol=tolerance)
        assert (mine.stress is None) == (expected.stress is None)
        if mine.stress is not None:
            assert np.allclose(mine.stress, expected.stress, atol=tolerance)


@pytest.mark.parametrize(
    "bounds",
    [{"max_edges": 1}, {"max_edges": 300}, {"batch_size": 2}, {"num_workers": 1}, {}],
)
def test_no_bound_of_the_batches_changes_a_prediction(store, bounds):
    expected = [next(ModelPotential([model()], graphs(store))([i])) for i in range(7)]
    found = list(ModelPotential([model()], graphs(store), **bounds)(range(7)))
    assert_close(found, expected)
    assert expected[0].stress is not None
    assert expected[2].stress is None
    assert len(expected[4].forces) == 1


def test_batches_are_bounded_by_edges_and_frames_and_keep_the_order(store):
    edges = store.edge_counts(R_MAX)
    potential = ModelPotential([model()], graphs(store), max_edges=int(edges[:2].sum()))
    assert potential.batches([0, 1, 3])[0] == [0, 1]
    places = [5, 3, 0, 1]
    assert [p for batch in potential.batches(places) for p in batch] == places
    every = ModelPotential([model()], graphs(store), max_edges=10**6)
    assert every.batches([0, 1], [2, 3, 4]) == [[0, 1], [2, 3, 4]]
    limited = ModelPotential([model()], graphs(store), max_edges=10**6, batch_size=3)
    assert list(map(len, limited.batches(range(7)))) == [3, 3, 1]


def test_predictions_are_those_of_the_model(store):
    potential = ModelPotential([model()], graphs(store), node_energies=True)
    for place, found in enumerate(potential(range(7))):
        graph = graphs(store)[place]
        expected = model()(graph, compute_forces=True, compute_stress=True)
        assert found.energy == pytest.approx(expected.energy.item(), rel=1e-12)
        assert np.allclose(found.forces, expected.forces.detach().numpy(), atol=1e-12)
        shares = expected.node_energies.detach().numpy()
        assert np.allclose(found.node_energies, shares, atol=1e-12)
        assert found.node_energies.sum() == pytest.approx(found.energy, rel=1e-12)
        assert found.energy_std is None


def test_node_energies_are_given_only_if_asked_for(store):
    assert next(ModelPotential([model()], graphs(store))([0])).node_energies is None


def test_a_committee_gives_mean_and_standard_deviation(store):
    models = [small_model(seed=seed).eval() for seed in range(3)]
    alone = [list(ModelPotential([one], graphs(store))(range(7))) for one in models]
    together = list(ModelPotential(models, graphs(store))(range(7)))
    for place, found in enumerate(together):
        energies = [member[place].energy for member in alone]
        forces = np.stack([member[place].forces for member in alone])
        assert found.energy == pytest.approx(np.mean(energies), rel=1e-12)
        assert found.energy_std == pytest.approx(np.std(energies), rel=1e-9)
        assert np.allclose(found.forces, forces.mean(axis=0), atol=1e-12)
        assert np.allclose(found.forces_std, forces.std(axis=0), atol=1e-12)
    stresses = np.stack([member[0].stress for member in alone])
    assert np.allclose(together[0].stress_std, stresses.std(axis=0), atol=1e-12)
    assert together[2].stress_std is None


def broken(store, place):
    """A model whose energies of one frame are NaN."""

    class Broken(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model()

        def forward(self, graph, **options):
            prediction = self.model(graph, **options)
            wrong = graph.labels.frame_index == place
            prediction.energy[wrong] = float("nan")
            return prediction

    return Broken()


def test_a_prediction_that_is_not_finite_is_a_failure_of_its_frame_alone(store):
    found = list(ModelPotential([broken(store, 3)], graphs(store))(range(7)))
    assert [isinstance(one, FrameFailure) for one in found] == [i == 3 for i in range(7)]
    assert "the predicted energy of frames.xyz, frame 3 (Li2O2" in found[3].reason
    assert_close([found[5]], ModelPotential([model()], graphs(store))([5]))


class Small:
    """Stands for a GPU on which only so many edges fit."""

    def __init__(self, max_edges):
        self.max_edges = max_edges
        self.model = model()
        self.calls = []

    def __call__(self, graph, **options):
        self.calls.append(graph.num_edges)
        if graph.num_edges > self.max_edges:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.model(graph, **options)


def test_a_batch_that_does_not_fit_is_cut_and_those_after_it_are_smaller(store):
    edges = store.edge_counts(R_MAX)
    small = Small(int(edges.max()) + 10)
    potential = ModelPotential([small], graphs(store), max_edges=10**6)
    found = list(potential(range(7)))
    assert_close(found, ModelPotential([model()], graphs(store))(range(7)))
    assert potential.max_edges < edges.sum()


def test_a_frame_that_never_fits_is_named(store):
    potential = ModelPotential([Small(10)], graphs(store))
    with pytest.raises(ValueError, match="does not fit into the memory of the GPU") as e:
        list(potential([0, 1]))
    assert "frames.xyz, frame 0, Li2O2" in str(e.value)


def test_random_numbers_are_left_alone(store):
    potential = ModelPotential([model()], graphs(store))
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    list(potential(range(7)))
    assert torch.equal(torch.rand(2), expected)


class NoStress(Calculator):
    """Knows energy and forces, both zero."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if len(atoms) == 1:
            raise RuntimeError("a single atom")
        energy = float("nan") if atoms.pbc.any() and len(atoms) == 5 else 0.0
        self.results = {"energy": energy, "forces": np.zeros((len(atoms), 3))}


def test_a_calculator_is_asked_for_each_frame(store):
    potential = CalculatorPotential(lennard_jones(), store, np.arange(7))
    found = list(potential([0, 2]))
    atoms = make_frame(0)
    atoms.calc = lennard_jones()
    assert found[0].energy == pytest.approx(atoms.get_potential_energy())
    assert np.allclose(found[0].stress, atoms.get_stress(voigt=False), atol=1e-9)
    assert found[1].stress is None
    assert found[0].node_energies is None


def test_a_calculator_may_know_energies_of_atoms(store):
    potential = CalculatorPotential(lennard_jones(), store, [0], node_energies=True)
    (found,) = potential([0])
    assert found.node_energies.sum() == pytest.approx(found.energy)
    potential = CalculatorPotential(NoStress(), store, [0], node_energies=True)
    (found,) = potential([0])
    assert found.node_energies is None
    assert found.stress is None


def test_a_calculator_that_fails_names_the_frame_and_goes_on(store):
    found = list(CalculatorPotential(NoStress(), store, np.arange(7))([4, 5]))
    assert found[0].reason == (
        "NoStress failed on frame 4 of frames.xyz (O): RuntimeError: a single atom"
    )
    assert found[1].energy == 0.0
