"""Frames that cannot make a better model are refused, each with its cure."""

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.io import write

from mace_train.data.cache import open_store
from mace_train.data.labels import LabelKeys
from mace_train.data.mixed_store import MixedStore, SetRole
from mace_train.finetuning.user_frames import (
    absent_labels,
    absent_labels_by_head,
    check_user_frames,
)
from mace_train.training.frame_set import FrameSet


def water(seed, *, stress=False):
    atoms = molecule("H2O", vacuum=5.0)
    atoms.positions += np.random.default_rng(seed).normal(0, 0.05, (3, 3))
    atoms.info["energy"] = -14.0 - 0.01 * seed
    atoms.arrays["forces"] = np.random.default_rng(seed).normal(0, 0.3, (3, 3))
    if stress:
        atoms.info["stress"] = 0.001 * np.eye(3).ravel()
    return atoms


def crystal(seed):
    atoms = bulk("MgO", "rocksalt", 4.2)
    atoms.positions += np.random.default_rng(seed).normal(0, 0.03, (2, 3))
    atoms.info |= {"energy": -11.0, "stress": 0.01 * np.eye(3).ravel()}
    atoms.arrays["forces"] = np.zeros((2, 3))
    return atoms


def store_of(tmp_path, frames, name="mine.xyz", **keys):
    write(tmp_path / name, frames, format="extxyz", write_results=False)
    cache = tmp_path / "cache"
    path = str(tmp_path / name)
    return open_store(path, keys=LabelKeys(**keys), r_max=3.0, cache_dir=cache)


def check(store, *, num_valid=1, **options):
    places = np.arange(len(store))
    train = FrameSet(store, places[num_valid:])
    valid = FrameSet(store, places[:num_valid])
    check_user_frames(train, valid, **options)


def test_five_different_frames_are_enough(tmp_path):
    check(store_of(tmp_path, [water(seed) for seed in range(5)]))


def test_fewer_than_five_frames_are_counted(tmp_path):
    with pytest.raises(
        ValueError, match=r"there are 4 frames \(3 to train on, 1 to validate; first: "
    ) as caught:
        check(store_of(tmp_path, [water(seed) for seed in range(4)]))
    assert "mine.xyz, frame 1" in str(caught.value)
    assert "at least 5" in str(caught.value)
    assert "rattle" in str(caught.value)


def test_identical_frames_are_refused_in_any_number(tmp_path):
    frames = [water(7) for _ in range(12)]
    for seed, atoms in enumerate(frames):
        atoms.positions += 1e-8 * seed
        atoms.info["energy"] += 0.1 * seed  # noise of labels makes them no other structures
    with pytest.raises(ValueError, match="all 12 frames are the same structure"):
        check(store_of(tmp_path, frames))


def test_one_frame_that_differs_is_enough_to_go_on(tmp_path):
    frames = [water(7) for _ in range(6)]
    frames[-1].positions[0, 0] += 1e-4
    check(store_of(tmp_path, frames))


def test_frames_of_different_cells_are_not_the_same(tmp_path):
    frames = [crystal(0) for _ in range(5)]
    frames[2].set_cell(frames[2].cell.array * 1.01)
    check(store_of(tmp_path, frames))


def test_a_stress_of_molecules_is_refused_unless_it_is_left_out(tmp_path):
    frames = [water(seed, stress=True) for seed in range(6)]
    with pytest.raises(ValueError, match="6 frames have a stress, but no frame") as caught:
        check(store_of(tmp_path, frames))
    assert "data.stress_key=none" in str(caught.value)
    assert "mine.xyz, frame 1, H2O" in str(caught.value)
    check(store_of(tmp_path, frames, stress="none"))
    check(store_of(tmp_path, frames), loss_weights={"energy": 1.0, "stress": 0.0})
    with pytest.raises(ValueError, match="a stress needs a volume"):
        check(store_of(tmp_path, frames), loss_weights={"stress": 10.0})


def test_in_mixed_frames_a_stress_of_molecules_is_only_told(tmp_path, caplog):
    frames = [water(seed, stress=True) for seed in range(3)]
    frames += [crystal(seed) for seed in range(3)]
    check(store_of(tmp_path, frames))
    assert "3 frames have a stress but are not periodic in three" in caplog.text


def test_a_stress_among_replayed_frames_does_not_count(tmp_path):
    mine = store_of(tmp_path, [water(seed) for seed in range(6)])
    theirs = store_of(tmp_path, [water(20 + s, stress=True) for s in range(4)], "old.xyz")
    store = MixedStore(
        [mine, theirs],
        names=["mine", "old"],
        roles=[SetRole(0), SetRole(1)],
        heads=["mine", "old"],
    )
    train, valid = (FrameSet(store, np.array(p)) for p in ([1, 2, 3, 4, 5], [0]))
    check_user_frames(train, valid)
    with pytest.raises(ValueError, match="4 frames have a stress"):
        check_user_frames(FrameSet.of_all(store), valid)


def test_labels_that_no_training_frame_has_are_absent(tmp_path):
    frames = [water(seed) for seed in range(5)]
    assert absent_labels(FrameSet.of_all(store_of(tmp_path, frames))) == {"stress"}
    for atoms in frames:
        del atoms.arrays["forces"]
    store = store_of(tmp_path, frames, "energies.xyz")
    assert absent_labels(FrameSet.of_all(store)) == {"forces", "stress"}
    both = store_of(tmp_path, [crystal(seed) for seed in range(2)], "crystals.xyz")
    assert absent_labels(FrameSet.of_all(both)) == set()


def two_heads(tmp_path, **weights):
    parts = [
        store_of(tmp_path, [crystal(seed) for seed in range(3)], "crystals.xyz"),
        store_of(tmp_path, [water(seed) for seed in range(3)], "molecules.xyz"),
    ]
    roles = [SetRole(0, **weights), SetRole(1)]
    store = MixedStore(parts, names=["a", "b"], roles=roles, heads=["mine", "old"])
    return FrameSet.of_all(store)


def test_a_label_without_a_weight_is_absent(tmp_path):
    assert absent_labels(two_heads(tmp_path)) == set()
    assert absent_labels(two_heads(tmp_path, stress_weight=0.0)) == {"stress"}


def test_labels_are_absent_from_one_head_and_not_from_the_other(tmp_path):
    found = absent_labels_by_head(two_heads(tmp_path))
    assert found == {"mine": set(), "old": {"stress"}}
    alone = FrameSet.of_all(store_of(tmp_path, [water(seed) for seed in range(5)]))
    assert absent_labels_by_head(alone) == {}
