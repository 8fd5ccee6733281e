"""The store: many shards are one list of frames."""

import multiprocessing
import pickle
import time
from dataclasses import replace

import numpy as np
import pytest
from made_stores import (
    R_MAX,
    atom_frame,
    count_edges,
    made_frame,
    store_of,
    without_labels,
    write_extxyz,
)

from mace_train.data.labels import LabelKeys
from mace_train.data.prepare import prepare_shards
from mace_train.data.store import FrameStore


@pytest.fixture
def frames():
    frames = [made_frame(k, numbers=(3, 8, 3)[: 1 + k % 3]) for k in range(10)]
    frames[2] = replace(frames[2], groups={"mp_id": "mp-7"}, config_type="bulk")
    frames[5] = without_labels(frames[5], "energy")
    frames[6] = replace(frames[6], forces_weight=0.0)
    return [*frames, atom_frame(8, -1.5)]


@pytest.fixture
def store(tmp_path, frames):
    return store_of(tmp_path, frames, per_shard=4)


def test_frames_are_numbered_through_all_shards(store, frames):
    assert len(store) == len(frames) == 11
    assert [store.frame(k).energy for k in range(11)] == [frame.energy for frame in frames]


@pytest.mark.parametrize("place", [-1, 11])
def test_a_place_beyond_the_frames_is_an_error(store, place):
    with pytest.raises(IndexError, match=f"frame {place} of 11"):
        store.frame(place)


def test_columns_agree_with_the_frames(store, frames):
    assert store.num_atoms.tolist() == [frame.num_atoms for frame in frames]
    periodic = [bool(frame.pbc.all()) for frame in frames]
    assert store.fully_periodic.tolist() == periodic
    assert set(periodic) == {True, False}
    assert store.energies.tolist() == [frame.energy or 0.0 for frame in frames]
    squares = [0.0 if f.forces is None else np.sum(f.forces**2) for f in frames]
    np.testing.assert_allclose(store.force_square_sums, squares, rtol=1e-15)
    assert store.isolated.tolist() == [False] * 10 + [True]
    assert store.source_indices.tolist() == [frame.index for frame in frames]
    assert store.atomic_numbers.tolist() == [3, 8]


def test_a_label_of_weight_zero_is_as_good_as_absent(store):
    presence = store.label_presence
    assert np.flatnonzero(~presence["energy"]).tolist() == [5]
    assert np.flatnonzero(~presence["forces"]).tolist() == [6, 10]
    assert np.flatnonzero(~presence["stress"]).tolist() == [10]


def test_composition_counts_the_atoms_of_each_element(store, frames):
    composition = store.composition
    entries = zip(composition.frame, composition.atomic_number, composition.count)
    expected = [
        (place, number, np.count_nonzero(frame.atomic_numbers == number))
        for place, frame in enumerate(frames)
        for number in np.unique(frame.atomic_numbers)
    ]
    assert [tuple(map(int, entry)) for entry in entries] == expected


def test_entries_of_a_frame_follow_each_other(store, frames):
    composition = store.composition
    assert composition.first[0] == 0
    assert composition.first[-1] == len(composition.count)
    counts = np.add.reduceat(composition.count, composition.first[:-1])
    assert counts.tolist() == [frame.num_atoms for frame in frames]


def test_edge_counts_are_read_or_else_counted_and_said(store, frames, caplog):
    caplog.set_level("INFO")
    assert store.edge_counts(R_MAX).tolist() == [count_edges(f, R_MAX) for f in frames]
    assert "counting edges" not in caplog.text
    assert store.edge_counts(4.5).tolist() == [count_edges(f, 4.5) for f in frames]
    assert "counting edges within 4.5 Å" in caplog.text


def test_groups_are_those_of_the_frames(store):
    assert store.groups("mp_id") == [None, None, "mp-7"] + [None] * 8
    assert store.groups("run") is None


def test_group_numbers_follow_the_alphabet_over_all_shards(tmp_path):
    names = ["mp-2", None, "mp-10", "mp-2", "Å", "mp-1", None, "mp-10", ""]
    frames = [
        replace(made_frame(k), groups={} if name is None else {"mp_id": name})
        for k, name in enumerate(names)
    ]
    store = store_of(tmp_path, frames, per_shard=2)
    values, numbers = store.group_numbers("mp_id")
    assert values == sorted(name for name in set(names) if name is not None)
    assert [None if n < 0 else values[n] for n in numbers.tolist()] == names
    assert store.groups("mp_id") == names
    assert store.group_keys == {"mp_id"}
    assert store.group_numbers("run") == ([], pytest.approx([-1] * len(names)))


def test_open_shards_need_not_be_opened_again(store):
    again = FrameStore(store.shards[1:])
    assert again.shards[0] is store.shards[1]
    assert again.energies.tolist() == store.energies[4:].tolist()


def test_a_store_goes_to_another_process_without_its_columns(store, frames):
    before = len(pickle.dumps(store))
    asked = (store.num_atoms, store.energies, store.force_square_sums, store.isolated)
    asked += (store.label_presence, store.composition, store.source_indices)
    asked += (
        store.census,
        store.checksums,
        store.edge_counts(R_MAX),
        store.groups("mp_id"),
    )
    assert all(value is not None for value in asked)
    message = pickle.dumps(store)
    assert len(message) == before
    again = pickle.loads(message)
    assert again.energies.tolist() == store.energies.tolist()
    assert again.edge_counts(R_MAX).tolist() == store.edge_counts(R_MAX).tolist()
    assert again.frame(7).index == frames[7].index


def test_config_types_and_sources_are_those_of_the_frames(store, frames):
    assert store.config_types == [frame.config_type for frame in frames]
    names, numbers = store.sources
    assert [names[number] for number in numbers] == [frame.source for frame in frames]


def test_the_census_is_that_of_all_shards(store):
    assert store.census.num_frames == 11
    assert store.census.labels["energy"] == 10


def test_checksums_name_the_users_files(store, tmp_path):
    assert store.checksums == {"made.extxyz": "0" * 64, "atoms.extxyz": "0" * 64}
    many = [replace(made_frame(0), source=f"{k}.extxyz") for k in range(101)]
    (name,) = store_of(tmp_path / "many", many).checksums
    assert name == "101 files"


def test_checksums_tell_files_of_one_name_apart(store, tmp_path):
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        frame = replace(made_frame(0), energy=-1.0 if folder == "a" else -2.0)
        path = write_extxyz(tmp_path / folder / "train.extxyz", [frame])
        report = prepare_shards([path], tmp_path / folder, keys=LabelKeys(), r_max=[3.0])
        paths += report.shards
    sums = [FrameStore(part).checksums for part in (paths, paths[:1], paths[1:])]
    assert list(sums[0]) == ["2 files"]
    assert list(sums[1]) == list(sums[2]) == ["train.extxyz"]
    assert sums[1] != sums[2]


def test_a_frame_is_described_by_file_place_and_formula(store):
    assert store.describe(5) == "made.extxyz, frame 5, Li2O"


def test_a_set_of_shards_with_some_missing_is_warned_of(store, caplog):
    FrameStore([shard.path for shard in store.shards[:2]])
    assert "only 2 of the 3 shards" in caplog.text
    assert "run it again and it will finish" in caplog.text


def test_no_shards_are_refused():
    with pytest.raises(ValueError, match="no shards"):
        FrameStore([])


def test_a_store_can_be_sent_to_another_process(store, frames):
    store.frame(0)
    message = pickle.dumps(store)
    assert pickle.loads(message).frame(9).energy == frames[9].energy
    # On the way go names and places of arrays, not the arrays.
    assert len(message) < 20_000


def _energy(store, place, results):
    results.put(store.frame(place).energy)


def test_a_store_works_in_forked_processes(store, frames):
    store.frame(0)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [
        context.Process(target=_energy, args=(store, place, results)) for place in (1, 9)
    ]
    for worker in workers:
        worker.start()
    found = {results.get(timeout=20) for _ in workers}
    for worker in workers:
        worker.join()
    assert found == {frames[1].energy, frames[9].energy}


@pytest.mark.slow
def test_a_million_frames_open_in_two_seconds(tmp_path):
    frames = [made_frame(k) for k in range(100)] * 100
    one = store_of(tmp_path / "one", frames, per_shard=10_000).shards[0].path
    paths = [tmp_path / f"{number}.h5" for number in range(100)]
    for path in paths:
        path.hardlink_to(one)
    begin = time.process_time()
    store = FrameStore(paths)
    store.frame(999_999)
    assert len(store) == 1_000_000
    assert time.process_time() - begin < 2
    assert store.edge_counts(R_MAX).shape == (1_000_000,)
    assert time.process_time() - begin < 5


def test_names_that_are_no_text_have_checksums(tmp_path):
    many = [replace(made_frame(0), source=f"\udce9{k}.extxyz") for k in range(101)]
    assert list(store_of(tmp_path, many).checksums) == ["101 files"]
