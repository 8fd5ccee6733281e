"""The message of a batch whose loss or gradient is not finite."""

from dataclasses import replace

import pytest
import torch
from pair_potential import PairPotential, make_frame

from mace_train.graph import AtomicGraph
from mace_train.micro_batches import MicroBatches
from mace_train.training.guard import NonFiniteError, raise_non_finite


def _message(batch) -> str:
    with pytest.raises(NonFiniteError) as caught:
        raise_non_finite(
            MicroBatches.of(batch),
            PairPotential().double(),
            where="epoch 1, step 7",
            frame_name="set.xyz, frame {}".format,
        )
    return str(caught.value)


def test_frames_whose_prediction_is_not_finite_are_named():
    frames = [make_frame(index) for index in (0, 1, 3)]
    positions = frames[1].positions.clone()
    positions[0] = torch.nan
    frames[1] = replace(frames[1], positions=positions)
    message = _message(AtomicGraph.batch(frames))
    assert "at epoch 1, step 7; prediction not finite for set.xyz, frame 1." in message


def test_all_frames_of_the_batch_are_named_where_predictions_are_sound():
    message = _message(AtomicGraph.batch([make_frame(index) for index in (0, 4)]))
    assert "frames of the batch: set.xyz, frame 0, set.xyz, frame 4." in message
    assert "optim.lr" in message


def test_of_many_frames_the_first_are_named():
    message = _message(AtomicGraph.batch([make_frame(index) for index in range(20)]))
    assert "frame 15 and 4 more" in message


def test_an_empty_batch_has_no_frames_to_name():
    assert "frames of the batch" in _message(AtomicGraph.empty())
