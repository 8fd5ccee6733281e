import numpy as np
import pytest
from small_crystals import make_frame, store_of, without

from mace_train.training.predictions import FramePrediction, Predictions, reference_values


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


def test_a_label_of_weight_zero_is_no_reference(tmp_path):
    silent = make_frame(0)
    silent.info["config_energy_weight"] = 0.0
    store = store_of(tmp_path, [silent], name="weights.xyz")
    references = reference_values(store.frame(0))
    assert references["energy"] is None
    assert references["forces"] is not None


def test_predictions_in_memory_are_one_chunk_of_themselves(store):
    predictions = predict(store)
    assert list(predictions.chunks) == [predictions]
    assert predictions.thinning == 1
