import numpy as np
import pytest
import torch
from ase.calculators.calculator import Calculator, all_changes
from small_crystals import R_MAX, lennard_jones, make_frame, small_model, store_of, without

from mace_train.data.dataset import GraphDataset
from mace_train.data.mixed_store import MixedStore, SetRole
from mace_train.training.evaluation import evaluate_calculator, evaluate_model


@pytest.fixture
def store(tmp_path):
    frames = [make_frame(i, molecule=i % 3 == 2) for i in range(7)]
    return store_of(tmp_path, [*frames, without(make_frame(7), "energy", "stress")])


def graphs(store, indices=None, dtype=torch.float64):
    indices = np.arange(len(store)) if indices is None else np.array(indices)
    elements = small_model().elements
    return GraphDataset(store, indices, elements=elements, r_max=R_MAX, dtype=dtype)


def close(first, second, relative):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value == pytest.approx(second[name], rel=relative), name


def test_errors_are_those_of_the_models_own_predictions(store):
    model = small_model().eval()
    results = evaluate_model(model, graphs(store), batch_size=3).results
    energy_errors, force_errors, stress_errors = [], [], []
    for index in range(len(store)):
        frame = store.frame(index)
        prediction = model(graphs(store, [index])[0], compute_stress=True)
        if frame.energy is not None:
            energy_errors.append((prediction.energy.item() - frame.energy) / 4)
        if frame.stress is not None:
            stress_errors.append(prediction.stress[0].numpy() - frame.stress)
        force_errors.append(prediction.forces.numpy() - frame.forces)
    assert results["energy_per_atom_mae"] == pytest.approx(np.abs(energy_errors).mean())
    assert results["forces_rmse"] == pytest.approx(np.sqrt(np.square(force_errors).mean()))
    assert results["stress_mae"] == pytest.approx(np.abs(stress_errors).mean())
    assert (results["num_frames"], results["num_atoms"]) == (8, 32)


@pytest.mark.parametrize(
    ("dtype", "relative"), [(torch.float64, 1e-9), (torch.float32, 1e-5)]
)
def test_the_batch_size_changes_no_result(store, dtype, relative):
    model = small_model().to(dtype)
    reference = evaluate_model(model, graphs(store, dtype=dtype), batch_size=1).results
    for batch_size in (3, 100):
        results = evaluate_model(model, graphs(store, dtype=dtype), batch_size=batch_size)
        close(results.results, reference, relative)


def test_frames_are_evaluated_in_the_asked_order_with_or_without_workers(store):
    dataset = graphs(store, [5, 0, 3])
    told = []
    evaluation = evaluate_model(
        small_model(), dataset, batch_size=2, progress=lambda *counts: told.append(counts)
    )
    assert evaluation.predictions.frame_index.tolist() == [5, 0, 3]
    assert told == [(2, 3), (3, 3)]
    helped = evaluate_model(small_model(), dataset, batch_size=2, num_workers=1)
    assert np.array_equal(helped.predictions.forces, evaluation.predictions.forces)


def test_only_frames_periodic_in_three_directions_have_a_stress(store):
    predictions = evaluate_model(small_model(), graphs(store)).predictions
    periodic = [bool(store.frame(i).pbc.all()) for i in range(8)]
    assert np.isfinite(predictions.stress).all(axis=(1, 2)).tolist() == periodic


def test_the_mode_of_the_model_and_its_gradients_are_left_alone(store):
    model = small_model().train()
    evaluate_model(model, graphs(store, [0]))
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_head_gives_its_own_energies(store):
    model = small_model(heads=("pbe", "r2scan"))
    first, second = (
        evaluate_model(model, graphs(store, [0, 1]), head=head).predictions.energy
        for head in (0, 1)
    )
    assert not np.allclose(first, second)


def test_frames_of_mixed_sets_are_evaluated_by_their_own_heads(store, tmp_path):
    model = small_model(heads=("pbe", "r2scan"))
    other = store_of(tmp_path, [make_frame(30), make_frame(31)], name="other.xyz")
    mixed = MixedStore(
        [store, other],
        names=["a", "b"],
        roles=[SetRole(0), SetRole(1)],
        heads=["pbe", "r2scan"],
    )
    together = evaluate_model(model, graphs(mixed, [0, 8, 1]), batch_size=2)
    alone = [
        evaluate_model(model, graphs(part, places), head=head).predictions.energy
        for head, (part, places) in enumerate([(store, [0, 1]), (other, [0])])
    ]
    expected = [alone[0][0], alone[1][0], alone[0][1]]
    assert together.predictions.energy == pytest.approx(expected, rel=1e-12)
    assert {
        name: part.results["num_frames"] for name, part in together.by_head.items()
    } == {
        "pbe": 2,
        "r2scan": 1,
    }


def test_a_calculator_that_made_the_labels_has_no_error(store):
    told = []
    evaluation = evaluate_calculator(
        lennard_jones(),
        store,
        np.arange(len(store)),
        progress=lambda *counts: told.append(counts),
    )
    results = evaluation.results
    assert (
        results["energy_per_atom_mae"] < 1e-7
    )  # positions are written with eight decimals
    assert results["forces_mae"] < 1e-6
    assert results["stress_mae"] < 1e-7
    assert results["num_frames"] == 8
    assert told[-1] == (8, 8)


class NoStress(Calculator):
    """Knows energy and forces, both zero."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}


class Failing(NoStress):
    """Knows no oxygen."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        raise KeyError("O")


def test_a_calculator_without_stress_is_scored_without(store):
    evaluation = evaluate_calculator(NoStress(), store, [0, 1])
    assert evaluation.results["stress_mae"] is None
    assert evaluation.results["forces_mae"] == pytest.approx(evaluation.zero_forces[0])


def test_a_calculator_that_fails_names_the_frame(store):
    with pytest.raises(
        ValueError, match=r"Failing failed on frame 1 of frames.xyz"
    ) as error:
        evaluate_calculator(Failing(), store, [1])
    assert "(Li2O2): KeyError: 'O'" in str(error.value)
