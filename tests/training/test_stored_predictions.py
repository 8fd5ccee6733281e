import numpy as np
import pytest
from small_crystals import isolated_atom, make_frame, store_of

from mace_train.training import stored_predictions as module
from mace_train.training.errors import Evaluation
from mace_train.training.metrics import QUANTITIES
from mace_train.training.prediction_parts import PartFolder
from mace_train.training.predictions import FrameFailure, FramePrediction, Predictions
from mace_train.training.stored_predictions import StoredPredictions

FAILED = 4


@pytest.fixture
def store(tmp_path):
    frames = [make_frame(i, molecule=i == 2, config_type="bulk") for i in range(7)]
    return store_of(tmp_path, [*frames[:3], isolated_atom("Li", -1.0), *frames[3:]])


def outcome(store, index):
    if index == FAILED:
        return FrameFailure(f"frame {index} failed")
    frame = store.frame(index)
    stress = None if frame.stress is None else frame.stress + 0.01 * index
    return FramePrediction(frame.energy + 0.1 * index, frame.forces - 0.2 * index, stress)


@pytest.fixture
def stored(store, tmp_path):
    """Eight frames in three parts; one failed, one is an isolated atom."""
    folder = PartFolder(tmp_path / "parts")
    folder.begin({}, resume=False)
    parts = [range(3), range(3, 4), range(4, 8)]
    for number, part in enumerate(parts):
        folder.write(number, [outcome(store, place) for place in part])
    return StoredPredictions(folder, parts, store, np.arange(8))


@pytest.fixture
def in_memory(store):
    scored = [index for index in range(8) if index not in (3, FAILED)]
    rows = [(index, store.frame(index), outcome(store, index)) for index in scored]
    return Predictions.collect(rows)


def test_all_but_failed_frames_come_in_order_part_by_part(stored):
    parts = [[frame.index for frame, _ in part] for part in stored.frames]
    assert parts == [[0, 1, 2], [3], [5, 6, 7]]
    assert list(stored.failures) == ["frame 4 failed"]


def test_isolated_atoms_are_not_scored(stored):
    assert [c.frame_index.tolist() for c in stored.chunks] == [[0, 1, 2], [5, 6, 7]]


def test_errors_are_those_of_the_same_predictions_in_memory(stored, in_memory, store):
    one, other = Evaluation(stored, store), Evaluation(in_memory, store)
    assert one.results == pytest.approx(other.results, rel=1e-12)
    assert one.zero_forces == pytest.approx(other.zero_forces, rel=1e-12)
    assert one.per_config_type["bulk"] == pytest.approx(other.per_config_type["bulk"])
    assert [row.frame for row in one.worst_frames] == [
        row.frame for row in other.worst_frames
    ]
    assert one.by_head == {}


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_pairs_are_those_of_the_same_predictions_in_memory(stored, in_memory, quantity):
    for mine, expected in zip(stored.pairs(quantity), in_memory.pairs(quantity)):
        assert np.array_equal(mine, expected.ravel())
    assert stored.thinning == 1


def test_many_values_are_thinned_out(stored, monkeypatch):
    monkeypatch.setattr(module, "MOST_PAIRS", 30)
    reference, predicted = stored.pairs("forces")
    assert stored.thinning == 3
    assert len(reference) == len(predicted) == 2 * 36 // 3
