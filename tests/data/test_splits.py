"""Splits: groups stay whole, fractions are met, and nothing depends on chance twice."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from made_stores import atom_frame, made_frame, store_of

from mace_train.data.sampler import permutation
from mace_train.data.splits import make_split


def grouped_store(tmp_path, sizes, key="mp_id", **options):
    frames = [
        replace(made_frame(0), groups={key: f"{key}-{group}"}, index=index)
        for group, size in enumerate(sizes)
        for index in range(size)
    ]
    return store_of(tmp_path, frames, **options)


def single_store(tmp_path, count, sources=1):
    frames = [
        replace(made_frame(index), source=f"{index * sources // count}.extxyz")
        for index in range(count)
    ]
    return store_of(tmp_path, frames)


def trajectory(count):
    positions = np.random.default_rng(0).uniform(0, 4, (3, 3))
    steps = np.random.default_rng(1).normal(0, 0.02, (count, 3, 3)).cumsum(axis=0)
    return [replace(made_frame(k), positions=positions + steps[k]) for k in range(count)]


def assert_is_partition(split, count):
    every = np.concatenate(list(split.subsets.values()))
    assert sorted(every.tolist()) == list(range(count))
    for places in split.subsets.values():
        assert (np.diff(places) > 0).all()


@pytest.mark.parametrize("key", ["mp_id", "material_id"])
@pytest.mark.parametrize("seed", range(3))
def test_auto_keeps_each_material_on_one_side(tmp_path, key, seed):
    sizes = np.random.default_rng(7).integers(1, 20, 60).tolist()
    store = grouped_store(tmp_path, sizes, key, per_shard=100)
    split = make_split(store, valid_fraction=0.2, test_fraction=0.1, seed=seed)
    assert split.method == "group"
    assert_is_partition(split, len(store))
    groups = store.groups(key)
    sides = {name: {groups[place] for place in p} for name, p in split.subsets.items()}
    assert not (sides["train"] & sides["valid"] | sides["train"] & sides["test"])
    assert not sides["valid"] & sides["test"]
    assert len(split.valid) == pytest.approx(0.2 * len(store), abs=max(sizes))
    assert len(split.test) == pytest.approx(0.1 * len(store), abs=max(sizes))


def test_a_key_of_the_users_own_groups_frames(tmp_path):
    store = grouped_store(tmp_path, [5] * 10, "run")
    assert make_split(store, seed=0).method == "random"
    split = make_split(store, group_key="run", valid_fraction=0.3)
    assert split.method == "group"
    assert set(Counter(store.groups("run")[p] for p in split.valid).values()) == {5}


def test_mp_id_goes_before_material_id(tmp_path):
    frames = [
        replace(made_frame(0), groups={"mp_id": f"mp-{k // 2}", "material_id": "same"})
        for k in range(20)
    ]
    assert make_split(store_of(tmp_path, frames), valid_fraction=0.2).method == "group"


@pytest.mark.parametrize("method", ["random", "blocks"])
@pytest.mark.parametrize("count", [2, 10, 333])
def test_fractions_of_single_frames_are_met(tmp_path, method, count):
    store = single_store(tmp_path, count)
    split = make_split(store, method=method, valid_fraction=0.1)
    assert_is_partition(split, count)
    assert len(split.valid) == pytest.approx(max(1, 0.1 * count), abs=4)
    assert len(split.test) == 0


def test_a_fraction_above_zero_gives_a_frame(tmp_path):
    store = single_store(tmp_path, 5)
    split = make_split(store, valid_fraction=0.001, test_fraction=0.001)
    assert [len(p) for p in split.subsets.values()] == [3, 1, 1]


def test_no_fractions_give_all_frames_to_training(tmp_path):
    split = make_split(single_store(tmp_path, 5), valid_fraction=0.0)
    assert [len(p) for p in split.subsets.values()] == [5, 0, 0]


def test_training_is_never_empty(tmp_path):
    store = grouped_store(tmp_path, [1, 50])
    for seed in range(5):
        split = make_split(store, valid_fraction=0.9, seed=seed)
        assert len(split.train) > 0
        assert len(split.valid) > 0


def test_blocks_are_runs_of_frames_within_one_file(tmp_path):
    store = single_store(tmp_path, 400, sources=3)
    split = make_split(store, method="blocks", valid_fraction=0.25, seed=1)
    runs = np.split(split.valid, np.flatnonzero(np.diff(split.valid) > 1) + 1)
    assert np.mean([len(run) for run in runs]) > 4


def test_the_same_arguments_give_the_same_split(tmp_path):
    store = grouped_store(tmp_path, [3] * 30)
    first, again, other = (make_split(store, seed=seed) for seed in (4, 4, 5))
    assert first.valid.tolist() == again.valid.tolist()
    assert first.valid.tolist() != other.valid.tolist()


def test_the_split_does_not_depend_on_how_shards_are_cut(tmp_path):
    sizes = [3] * 30
    whole = grouped_store(tmp_path / "a", sizes)
    cut = grouped_store(tmp_path / "b", sizes, per_shard=7)
    assert make_split(whole).valid.tolist() == make_split(cut).valid.tolist()


def test_isolated_atoms_stay_in_training(tmp_path):
    frames = [made_frame(k) for k in range(8)] + [atom_frame(3, -1.0), atom_frame(8, -2.0)]
    for seed in range(5):
        split = make_split(store_of(tmp_path, frames), valid_fraction=0.5, seed=seed)
        assert {8, 9} <= set(split.train.tolist())


def test_frames_without_a_group_are_counted_and_go_alone(tmp_path):
    frames = [replace(made_frame(0), groups={"mp_id": f"mp-{k // 4}"}) for k in range(20)]
    frames += [made_frame(k) for k in range(3)]
    split = make_split(store_of(tmp_path, frames), valid_fraction=0.3)
    assert split.warnings == ("3 of 23 frames have no mp_id: each goes to its side alone",)


def test_groups_are_taken_in_alphabetic_order_and_the_nameless_alone(tmp_path):
    names = ["b", None, "a", "", "c", "b", "", "a", None, "d", "e", "a"]
    frames = [
        replace(made_frame(k), groups={} if name is None else {"mp_id": name})
        for k, name in enumerate(names)
    ]
    split = make_split(store_of(tmp_path, frames, per_shard=5), valid_fraction=0.4, seed=2)
    # The same by hand: units a to e, then each frame without a name.
    units = {name: n for n, name in enumerate(sorted({n for n in names if n}))}
    alone = iter(range(len(units), 100))
    numbers = np.array([units[n] if n else next(alone) for n in names])
    taken, target = 0, 0.4 * len(names)
    valid: list[int] = []
    for unit in permutation(int(numbers.max()) + 1, 0x5BD1, 2)[:-1]:
        members = np.flatnonzero(numbers == unit).tolist()
        if taken < target and abs(taken + len(members) - target) < abs(taken - target):
            valid, taken = valid + members, taken + len(members)
    assert split.valid.tolist() == sorted(valid)
    assert split.warnings == ("4 of 12 frames have no mp_id: each goes to its side alone",)


def test_a_single_material_is_split_by_blocks_with_a_warning(tmp_path):
    split = make_split(grouped_store(tmp_path, [8]), valid_fraction=0.2)
    assert split.method == "blocks"
    assert "whole mp_ids cannot be held out" in split.warnings[0]
    assert len(split.valid) == 2


def test_one_trajectory_split_by_frames_is_warned_of(tmp_path):
    frames = trajectory(60)
    split = make_split(store_of(tmp_path / "a", frames), method="random")
    assert split.method == "random"
    assert "look like one trajectory" in split.warnings[0]
    assert "data.split=blocks" in split.warnings[0]
    assert make_split(store_of(tmp_path / "b", frames), method="blocks").warnings == ()


def test_auto_splits_a_trajectory_by_blocks_and_says_why(tmp_path, caplog):
    store = store_of(tmp_path, trajectory(60))
    with caplog.at_level("INFO"):
        split = make_split(store)
    assert split.method == "blocks"
    assert split.warnings == ()
    assert "split by blocks of consecutive frames: consecutive frames look" in caplog.text


@pytest.mark.parametrize("count", [5, 12, 30, 50, 75, 100])
@pytest.mark.parametrize("seed", range(2))
def test_validation_frames_of_a_short_run_follow_each_other(tmp_path, count, seed):
    store = store_of(tmp_path, trajectory(count))
    split = make_split(store, method="blocks", seed=seed)
    assert_is_partition(split, count)
    assert (np.diff(split.valid) == 1).all()
    assert len(split.valid) == pytest.approx(max(1, count / 10), abs=1.5)


def test_one_large_group_that_validates_is_told(tmp_path):
    split = make_split(grouped_store(tmp_path, [20, 20, 20], "traj_id"))
    assert len(split.valid) == 20
    assert split.warnings[0].startswith("20 frames validate where data.valid_fraction asks")
    assert make_split(grouped_store(tmp_path / "b", [3] * 30)).warnings == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"valid_fraction": 1.0}, r"data.valid_fraction must be in \[0, 1\), got 1.0"),
        ({"test_fraction": -0.1}, "data.test_fraction must be in"),
        ({"valid_fraction": 0.5, "test_fraction": 0.5}, "leave nothing to train on"),
        ({"method": "group"}, r"no frame has any of mp_id, .*, group: name the key with"),
        ({"method": "group", "group_key": "run"}, "data.split=group, but no frame has run"),
        ({"group_key": "run"}, "data.split=auto, but no frame has run"),
        ({"test_fraction": 0.3}, "2 frames in 2 units cannot be divided into 3 subsets"),
    ],
)
def test_impossible_splits_are_refused_with_a_cure(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make_split(single_store(tmp_path, 2), **options)


def test_isolated_atoms_alone_cannot_be_split(tmp_path):
    with pytest.raises(ValueError, match="all 1 frames are isolated atoms"):
        make_split(store_of(tmp_path, [atom_frame(3, -1.0)]))


def test_a_single_group_cannot_be_split_by_group(tmp_path):
    with pytest.raises(ValueError, match="8 frames in 1 groups cannot be divided into 2"):
        make_split(grouped_store(tmp_path, [8]), method="group")
