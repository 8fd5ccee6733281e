import numpy as np
import pytest
from small_crystals import make_frame, store_of, without
from test_predictions import predict

from mace_train.data.mixed_store import MixedStore, SetRole
from mace_train.training.errors import Evaluation
from mace_train.training.predictions import FramePrediction, Predictions


def evaluate(store, change):
    """Predictions that ``change`` makes of energy, forces and stress of each frame."""
    rows = []
    for index in range(len(store)):
        frame = store.frame(index)
        forces = np.zeros((4, 3)) if frame.forces is None else frame.forces
        stress = np.zeros((3, 3)) if frame.stress is None else frame.stress
        values = change(index, frame.energy or 0.0, forces, stress)
        rows.append((index, frame, FramePrediction(*values)))
    return Evaluation(Predictions.collect(rows), store)


@pytest.fixture
def store(tmp_path):
    frames = [make_frame(i, config_type="bulk" if i < 2 else "strained") for i in range(4)]
    return store_of(tmp_path, frames)


def test_errors_are_means_over_frames_and_components(store):
    shift = np.array([0.4, -0.8, 0.0, 0.0])
    evaluation = evaluate(
        store,
        lambda i, energy, forces, stress: (
            energy + shift[i],
            forces + 0.3 * (i == 0),
            stress + 0.01 * (i == 1),
        ),
    )
    results = evaluation.results
    assert results["energy_per_atom_mae"] == pytest.approx((0.1 + 0.2) / 4)
    assert results["energy_per_atom_rmse"] == pytest.approx(np.sqrt((0.01 + 0.04) / 4))
    assert results["forces_mae"] == pytest.approx(0.3 / 4)
    assert results["forces_rmse"] == pytest.approx(0.3 / 2)
    assert results["stress_mae"] == pytest.approx(0.01 / 4)
    assert results["stress_rmse"] == pytest.approx(0.01 / 2)
    assert (results["num_frames"], results["num_atoms"]) == (4, 16)
    assert len(results) == 8


def test_a_missing_label_gives_none(tmp_path):
    frames = [without(make_frame(0), "energy"), make_frame(1, molecule=True)]
    store = store_of(tmp_path, frames)
    results = Evaluation(predict(store), store).results
    assert results["energy_per_atom_mae"] == 0
    assert results["stress_mae"] == 0
    store = store_of(tmp_path, [make_frame(1, molecule=True)], name="molecules.xyz")
    results = Evaluation(predict(store, offset=1.0), store).results
    assert results["stress_mae"] is None
    assert results["stress_rmse"] is None
    assert results["forces_mae"] == pytest.approx(1.0)


def test_zero_forces_are_the_baseline(store):
    evaluation = Evaluation(predict(store), store)
    every = np.concatenate([store.frame(i).forces for i in range(4)])
    mae, rmse = evaluation.zero_forces
    assert mae == pytest.approx(np.abs(every).mean())
    assert rmse == pytest.approx(np.sqrt((every**2).mean()))


def test_force_errors_are_told_by_element(store):
    def change(i, energy, forces, stress):
        wrong = np.zeros((4, 3))
        wrong[[0, 2]] = 0.2  # the lithium atoms
        return energy, forces + wrong, stress

    lithium, oxygen = evaluate(store, change).per_element_forces
    assert (lithium.element, lithium.num_atoms) == ("Li", 8)
    assert lithium.forces_mae == pytest.approx(0.2)
    assert (oxygen.element, oxygen.forces_rmse) == ("O", 0.0)
    assert oxygen.zero_forces_mae > 0


def test_errors_are_told_by_config_type(store):
    evaluation = evaluate(
        store, lambda i, energy, forces, stress: (energy + 0.4 * (i == 3), forces, stress)
    )
    by_type = evaluation.per_config_type
    assert list(by_type) == ["bulk", "strained"]
    assert by_type["bulk"]["energy_per_atom_mae"] == 0
    assert by_type["strained"]["energy_per_atom_mae"] == pytest.approx(0.05)
    assert by_type["strained"]["num_frames"] == 2


def test_frames_without_config_type_have_no_table(tmp_path):
    store = store_of(tmp_path, [make_frame(0)])
    assert Evaluation(predict(store), store).per_config_type == {}


def test_the_worst_frames_come_first_by_energy_or_forces(store):
    def change(i, energy, forces, stress):
        return energy + (0.4 if i == 2 else 0.04), forces + (0.9 if i == 1 else 0.1), stress

    worst = evaluate(store, change).worst_frames
    assert {worst[0].frame, worst[1].frame} == {1, 2}
    by_frame = {row.frame: row for row in worst}
    assert by_frame[2].energy_per_atom_error == pytest.approx(0.1)
    assert by_frame[2].times_mean == pytest.approx(0.1 / 0.0325)
    assert by_frame[1].forces_max == pytest.approx(0.9)
    assert by_frame[1].times_mean == pytest.approx(0.9 / 0.3)
    assert (worst[0].source, worst[0].formula, worst[0].num_atoms) == (
        "frames.xyz",
        "Li2O2",
        4,
    )


def test_at_most_twenty_frames_are_the_worst(tmp_path):
    store = store_of(tmp_path, [without(make_frame(i), "stress") for i in range(22)])
    evaluation = Evaluation(predict(store, offset=0.1), store)
    assert len(evaluation.worst_frames) == 20


def test_a_frame_without_any_label_is_not_among_the_worst(tmp_path):
    bare = without(make_frame(1), "energy", "forces")
    store = store_of(tmp_path, [make_frame(0), bare])
    worst = Evaluation(predict(store, offset=0.1), store).worst_frames
    assert [row.frame for row in worst] == [0]


def test_details_are_plain_values(store):
    details = Evaluation(predict(store, offset=0.1), store).details()
    assert set(details) == {
        "zero_forces",
        "per_element_forces",
        "per_config_type",
        "worst_frames",
    }
    assert details["per_element_forces"][0]["element"] == "Li"


def test_errors_are_told_by_head_where_there_are_several(tmp_path):
    parts = [
        store_of(tmp_path, [make_frame(10 * n + i) for i in range(2)], name=f"{n}.xyz")
        for n in range(3)
    ]
    roles = [SetRole(0), SetRole(1), SetRole(0)]
    store = MixedStore(parts, names="abc", roles=roles, heads=["pbe", "scan", "none"])
    whole = evaluate(store, lambda n, e, f, s: (e + 4.0 * (n in (2, 3)), f, s))
    assert list(whole.by_head) == ["pbe", "scan"]
    assert whole.by_head["pbe"].results["num_frames"] == 4
    assert whole.by_head["pbe"].results["energy_per_atom_mae"] == pytest.approx(
        0, abs=1e-12
    )
    assert whole.by_head["scan"].results["energy_per_atom_mae"] == pytest.approx(1.0)
    assert evaluate(parts[0], lambda n, e, f, s: (e, f, s)).by_head == {}
