import numpy as np
import pytest
from ase.io import read
from small_crystals import make_frame, store_of, without

from mace_train.training.predictions import FramePrediction, Predictions, write_predictions


def predict(store, *, offset=0.0, indices=None):
    """Predictions that are off the labels by a constant in every component."""
    indices = range(len(store)) if indices is None else indices
    rows = []
    for index in indices:
        frame = store.frame(index)
        stress = None if frame.stress is None else frame.stress + offset
        forces = np.zeros((frame.num_atoms, 3)) if frame.forces is None else frame.forces
        energy = (frame.energy or 0.0) + offset
        rows.append((index, frame, FramePrediction(energy, forces + offset, stress)))
    return Predictions.collect(rows)


@pytest.fixture
def store(tmp_path):
    """A crystal, a cluster, a crystal without energy, one without forces and stress."""
    return store_of(
        tmp_path,
        [
            make_frame(0, group="mp-1", config_type="bulk"),
            make_frame(1, molecule=True, config_type="cluster"),
            without(make_frame(2), "energy"),
            without(make_frame(3), "forces", "stress"),
        ],
    )


def test_references_are_the_labels_and_nan_where_there_is_none(store):
    predictions = predict(store)
    assert np.isnan(predictions.reference_energy).tolist() == [False, False, True, False]
    assert predictions.has_forces.tolist() == [True] * 12 + [False] * 4
    assert predictions.has_stress.tolist() == [True, False, True, False]
    assert predictions.reference_energy[0] == store.frame(0).energy
    assert predictions.num_atoms.tolist() == [4, 4, 4, 4]
    assert predictions.frame_of_atom.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4


def test_pairs_hold_what_both_sides_know(store):
    predictions = predict(store, offset=0.5)
    reference, predicted = predictions.pairs("energy_per_atom")
    assert np.allclose(predicted - reference, 0.5 / 4)
    assert len(reference) == 3
    for quantity, shape in (("forces", (12, 3)), ("stress", (2, 3, 3))):
        reference, predicted = predictions.pairs(quantity)
        assert reference.shape == shape
        assert np.allclose(predicted - reference, 0.5)


def test_a_selection_keeps_the_atoms_of_its_frames(store):
    predictions = predict(store)
    chosen = predictions.select(np.array([False, True, False, True]))
    assert chosen.frame_index.tolist() == [1, 3]
    assert chosen.first_atom.tolist() == [0, 4, 8]
    assert np.array_equal(chosen.forces[:4], predictions.forces[4:8])


def test_a_prediction_that_is_not_finite_names_its_frame(store):
    frame = store.frame(1)
    bad = FramePrediction(float("nan"), np.full((4, 3), np.inf), None)
    with pytest.raises(
        ValueError, match=r"the predicted energy and forces of frames.xyz, frame 1"
    ):
        Predictions.collect([(1, frame, bad)])


def test_no_frame_is_an_error():
    with pytest.raises(ValueError, match="there is no frame to evaluate"):
        Predictions.collect([])


def test_predictions_are_written_in_the_order_of_the_set_and_read_by_ase(store, tmp_path):
    predictions = predict(store, offset=0.25, indices=[3, 0, 1])
    path = tmp_path / "out" / "predictions.extxyz"
    write_predictions(path, predictions, store)
    frames = read(path, ":")
    assert [atoms.info["source_index"] for atoms in frames] == [3, 0, 1]
    crystal = frames[1]
    assert crystal.info["mp_id"] == "mp-1"
    assert crystal.info["config_type"] == "bulk"
    assert crystal.info["reference_energy"] == store.frame(0).energy
    assert crystal.info["predicted_energy"] == store.frame(0).energy + 0.25
    assert np.allclose(
        crystal.arrays["predicted_forces"], predictions.forces[4:8], atol=1e-8
    )
    written = np.reshape(crystal.info["predicted_stress"], (3, 3))
    assert np.allclose(written, store.frame(0).stress + 0.25)
    assert np.allclose(crystal.positions, store.frame(0).positions, atol=1e-8)


def test_what_a_frame_lacks_is_not_written(store, tmp_path):
    write_predictions(tmp_path / "p.extxyz", predict(store), store)
    frames = read(tmp_path / "p.extxyz", ":")
    assert "reference_stress" not in frames[1].info
    assert "predicted_stress" not in frames[1].info
    assert "reference_energy" not in frames[2].info
    assert "predicted_energy" in frames[2].info
    assert "reference_forces" not in frames[3].arrays
    assert "predicted_forces" in frames[3].arrays
