"""Trajectories are told from independent frames."""

from dataclasses import replace

import numpy as np
import pytest
from made_stores import SHARED_DATA, made_frame, store_of

from mace_train.data.frame_reader import LabelKeys
from mace_train.data.prepare import prepare_shards
from mace_train.data.store import FrameStore
from mace_train.data.trajectories import looks_like_trajectory


def walk(seed, count, step):
    generator = np.random.default_rng(seed)
    start = generator.uniform(0, 4, (3, 3))
    path = generator.normal(0, step, (count, 3, 3)).cumsum(axis=0)
    return [replace(made_frame(0), positions=start + moved) for moved in path]


def judged(tmp_path, frames):
    return looks_like_trajectory(store_of(tmp_path, frames), np.arange(len(frames)))


def test_a_slow_walk_is_a_trajectory(tmp_path):
    assert judged(tmp_path, walk(0, 80, 0.02))


def test_frames_wrapped_into_the_cell_are_still_one(tmp_path):
    frames = walk(0, 80, 0.02)
    cells = np.diag(frames[0].cell)
    assert judged(tmp_path, [replace(f, positions=f.positions % cells) for f in frames])


def test_a_shuffled_trajectory_is_none(tmp_path):
    frames = walk(0, 80, 0.02)
    order = np.random.default_rng(1).permutation(80)
    assert not judged(tmp_path, [frames[place] for place in order])


def test_short_relaxations_of_many_materials_are_like_one(tmp_path):
    relaxations = [
        replace(frame, atomic_numbers=np.array([1 + material, 8, 8]))
        for material in range(15)
        for frame in walk(material, 8, 0.02)
    ]
    assert judged(tmp_path, relaxations)


def test_independent_frames_are_none(tmp_path):
    assert not judged(tmp_path, [made_frame(seed) for seed in range(80)])


def test_two_frames_say_nothing(tmp_path):
    assert not judged(tmp_path, walk(0, 2, 0.01))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mptrj_random_dev.extxyz", False), ("rmd17_aspirin_train.xyz", False)],
)
def test_real_sets_of_independent_frames_raise_no_alarm(tmp_path, name, expected):
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip("needs the data sets of ../shared/data")
    report = prepare_shards([path], tmp_path, keys=LabelKeys(), r_max=[2.0])
    store = FrameStore(report.shards)
    assert looks_like_trajectory(store, np.arange(len(store))) is expected
