import numpy as np
import pytest
from small_crystals import make_frame, store_of, without

from mace_train.data.mixed_store import MixedStore, SetRole
from mace_train.training.frame_set import FrameSet
from mace_train.training.required_labels import require_labels, weighted_frames

ALL = {"energy": 1.0, "forces": 10.0, "stress": 100.0}


@pytest.fixture
def parts(tmp_path):
    whole = [make_frame(i) for i in range(3)]
    poor = [without(make_frame(10 + i), "stress") for i in range(2)]
    return [
        store_of(tmp_path, frames, name=name)
        for name, frames in (("whole.xyz", whole), ("poor.xyz", poor))
    ]


def mixed(parts, *roles, heads=("mp", "mine")):
    store = MixedStore(parts, names=["whole", "poor"], roles=roles, heads=heads)
    return FrameSet.of_all(store)


def test_one_set_is_checked_as_a_whole(parts):
    require_labels(FrameSet.of_all(parts[0]), ALL)
    with pytest.raises(ValueError, match="none of the 2 training frames"):
        require_labels(FrameSet.of_all(parts[1]), ALL)


def test_every_head_needs_every_label_of_the_loss(parts):
    frames = mixed(parts, SetRole(0), SetRole(1))
    require_labels(frames, ALL | {"stress": 0.0})
    with pytest.raises(ValueError, match="head mine:") as error:
        require_labels(frames, ALL)
    assert "none of the 2 training frames has a label for stress" in str(error.value)
    assert "in its sets alone, as in data.train='[{path: PATH, energy_key: NAME}]'" in str(
        error.value
    )
    assert "stress_weight 0 in its sets of data.train" in str(error.value)


def test_a_label_that_a_head_gives_no_weight_to_is_not_asked_for(parts):
    require_labels(mixed(parts, SetRole(0), SetRole(1, stress_weight=0.0)), ALL)


def test_sets_of_one_head_help_each_other_unless_their_weight_is_zero(parts):
    require_labels(mixed(parts, SetRole(), SetRole(), heads=("Default",)), ALL)
    silent = mixed(parts, SetRole(stress_weight=0.0), SetRole(), heads=("Default",))
    with pytest.raises(ValueError, match="none of the 2 training frames") as error:
        require_labels(silent, ALL)
    assert "head" not in str(error.value)


def test_frames_beyond_the_training_split_do_not_count(parts):
    store = mixed(parts, SetRole(), SetRole(), heads=("Default",)).store
    with pytest.raises(ValueError, match="label for stress"):
        require_labels(FrameSet(store, np.array([3, 4])), ALL)


def test_a_label_of_any_head_is_enough_where_that_is_said(parts):
    frames = mixed(parts, SetRole(0), SetRole(1))
    require_labels(frames, ALL, of_each_head=False)
    silent = mixed(parts, SetRole(0, stress_weight=0.0), SetRole(1))
    with pytest.raises(ValueError, match="none of the 2 training frames has a label"):
        require_labels(silent, ALL, of_each_head=False)


def test_a_head_that_would_learn_nothing_is_refused(parts):
    frames = mixed(parts, SetRole(0), SetRole(1))
    with pytest.raises(ValueError, match="head mine: none of its 2 training frames") as e:
        require_labels(frames, {"energy": 0.0, "stress": 1.0}, of_each_head=False)
    assert "the loss weighs (stress)" in str(e.value)
    assert "replay_labels=parent" in str(e.value)


def test_frames_of_sets_without_a_weight_for_a_label_are_not_among_its_frames(parts):
    frames = mixed(parts, SetRole(0, energy_weight=0.0), SetRole(1))
    assert weighted_frames(frames, "energy").indices.tolist() == [3, 4]
    assert len(weighted_frames(frames, "energy", head=0)) == 0
    assert weighted_frames(frames, "forces", head=0).indices.tolist() == [0, 1, 2]
    alone = FrameSet.of_all(parts[0])
    assert weighted_frames(alone, "energy") is alone
