import logging

import numpy as np
import pytest
from small_crystals import R_MAX, make_frame, store_of

from mace_train.data.mixed_store import MixedStore, SetRole
from mace_train.data.statistics import compute_statistics
from mace_train.elements import ElementTable
from mace_train.training.data_summary import log_frames, log_labels, log_statistics
from mace_train.training.frame_set import FrameSet


@pytest.fixture
def log(caplog):
    package = logging.getLogger("mace_train")
    package.addHandler(caplog.handler)
    caplog.set_level(logging.INFO, "mace_train")
    yield caplog
    package.removeHandler(caplog.handler)


@pytest.fixture
def parts(tmp_path):
    return [
        store_of(tmp_path, [make_frame(10 * n + i) for i in range(3)], name=f"{n}.xyz")
        for n in range(2)
    ]


@pytest.fixture
def mixed(parts):
    roles = [SetRole(0), SetRole(1, 5.0, 5.0, 0.0)]
    return MixedStore(parts, names=["big", "small"], roles=roles, heads=["mp", "mine"])


def test_labels_of_one_set_are_told_as_they_are(parts, log):
    log_labels(parts[0])
    assert set(log.messages) == {f"labels: {parts[0].census.summary()}"}


def test_several_sets_are_told_with_heads_and_weights(mixed, log):
    log_labels(mixed)
    assert "set big: head mp, weights of energy, forces and stress 1, 1, 1;" in log.text
    assert "set small: head mine, weights of energy, forces and stress 5, 5, 0" in log.text


def test_splits_are_told_set_by_set(mixed, log):
    sets = {
        "train": FrameSet(mixed, np.array([0, 1, 5])),
        "valid": FrameSet(mixed, np.array([], int)),
    }
    log_frames(sets, num_isolated=2)
    assert "train: 3 frames, 12 atoms; energy 3/3" in log.text
    assert "train: 2 of big, 1 of small" in log.text
    assert "2 frames of isolated atoms" in log.text
    assert "there are no validation frames" in log.text


def test_statistics_name_their_head_where_there_are_several(parts, log):
    one = compute_statistics(
        parts[0], np.arange(3), elements=ElementTable((3, 8, 26)), r_max=R_MAX
    )
    log.clear()
    log_statistics({"Default": one})
    assert "head" not in log.text
    assert "Fe            0" in log.text
    log.clear()
    log_statistics({"mp": one, "mine": one})
    assert "head mp\nelement" in log.text
    assert "head mine\nelement" in log.text
    assert "Li            6" in log.text
    assert "Fe" not in log.text  # which the head has not met
