import numpy as np
import pytest
from small_crystals import isolated_atom, make_frame, store_of, without

from mace_train.elements import ElementTable
from mace_train.training.frame_set import FrameSet, name_elements


@pytest.fixture
def frames(tmp_path):
    """Four LiO crystals, two LiF clusters without stress, one frame without forces."""
    atoms = [make_frame(seed) for seed in range(4)]
    atoms += [make_frame(seed, symbols=("Li", "F"), molecule=True) for seed in (4, 5)]
    atoms += [without(make_frame(6), "forces"), isolated_atom("Li", -1.5)]
    return FrameSet.of_all(store_of(tmp_path, atoms))


def test_isolated_atoms_are_taken_out(frames):
    assert frames.without_isolated_atoms().indices.tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_elements_are_those_of_the_chosen_frames_alone(frames):
    assert frames.atomic_numbers == {3, 8, 9}
    assert FrameSet(frames.store, np.array([1, 2])).atomic_numbers == {3, 8}
    assert frames.with_elements({9}).indices.tolist() == [4, 5]


def test_labels_are_counted_where_they_are_present(frames):
    assert frames.label_counts == {"energy": 8, "forces": 7, "stress": 5}


def test_unknown_elements_are_named_with_their_frames(frames):
    with pytest.raises(ValueError, match="does not know F, which 2 of 8 frames") as error:
        frames.require_elements(
            ElementTable((3, 8)), who="the model m", where="data.test", cure="Do this."
        )
    assert "frames.xyz, frame 4, Li2F2" in str(error.value)
    assert str(error.value).endswith("It knows Li O. Do this.")
    frames.require_elements(ElementTable((3, 8, 9)), who="", where="", cure="")


def test_a_weighted_label_without_samples_is_refused_with_the_override_that_drops_it(
    frames,
):
    clusters = frames.with_elements({9})
    clusters.require_labels({"energy": 1.0, "forces": 10.0, "stress": 0.0})
    with pytest.raises(
        ValueError, match=r"drop that term with loss.stress_weight=0"
    ) as error:
        clusters.require_labels({"energy": 1.0, "forces": 10.0, "stress": 100.0})
    message = str(error.value)
    assert "none of the 2 training frames" in message
    assert "only frames periodic in three directions have a stress term" in message
    assert "labels found: energy 2/2, forces 2/2" in message


def test_a_refusal_for_want_of_labels_tells_which_names_the_files_hold(tmp_path):
    atoms = without(make_frame(0), "energy")
    atoms.info["U0"] = -3.0
    frames = FrameSet.of_all(store_of(tmp_path, [atoms]))
    with pytest.raises(ValueError, match=r"names in the files: .*\bU0 \(1\)") as error:
        frames.require_labels({"energy": 1.0})
    assert "names that look like the energy, and how to take them:" in str(error.value)
    assert "U0 is in 1 frames: mace-train ... data.energy_key=U0" in str(error.value)


def test_a_random_sample_is_the_same_for_a_seed_and_keeps_the_order(frames):
    sample = frames.random_sample(4, seed=1).indices
    assert len(sample) == 4
    assert (np.diff(sample) > 0).all()
    assert np.array_equal(sample, frames.random_sample(4, seed=1).indices)
    assert not np.array_equal(sample, frames.random_sample(4, seed=2).indices)
    assert frames.random_sample(100, seed=1) is frames


def test_elements_are_named_in_order():
    assert name_elements([26, 1]) == "H Fe"
