"""Shards: frames come back as they were, and anything else is refused by name."""

import pickle
from dataclasses import fields, replace

import h5py
import numpy as np
import pytest
from made_stores import (
    R_MAX,
    SHARED_DATA,
    atom_frame,
    count_edges,
    made_frame,
    store_of,
    without_labels,
)

from mace_train.data.columns import DamagedShardError
from mace_train.data.frame import Frame
from mace_train.data.frame_reader import LabelKeys, read_frames
from mace_train.data.prepare import prepare_shards
from mace_train.data.shards import Shard


def assert_equal_frames(first, second, *, but=()):
    for name in {field.name for field in fields(Frame)} - set(but):
        mine, other = getattr(first, name), getattr(second, name)
        if isinstance(mine, np.ndarray):
            np.testing.assert_array_equal(mine, other, err_msg=name)
        else:
            assert mine == other, name


FRAMES = [
    made_frame(0),
    without_labels(made_frame(1), "stress"),
    without_labels(made_frame(2), "energy", "forces"),
    atom_frame(8, -1.5),
    replace(made_frame(3), groups={"mp_id": "mp-1", "run": "ä b"}, config_type="bulk"),
    replace(made_frame(4), pbc=np.array([True, False, True]), frame_weight=0.1),
    replace(made_frame(5), groups={"mp_id": "mp-2"}, source="b/other.extxyz", index=10**10),
]


@pytest.mark.parametrize("place", range(len(FRAMES)))
def test_a_frame_comes_back_as_it_was(tmp_path, place):
    shard = store_of(tmp_path, FRAMES).shards[0]
    assert_equal_frames(shard.frame(place), FRAMES[place])


def test_columns_hold_what_the_frames_do(tmp_path):
    shard = store_of(tmp_path, FRAMES, r_max=(2.0, R_MAX)).shards[0]
    assert shard.flag("energy").tolist() == [True, True, False, True, True, True, True]
    assert shard.flag("stress").tolist() == [True, False, True, False, True, True, True]
    assert shard.flag("isolated").tolist() == [False] * 3 + [True] + [False] * 3
    expected = [[count_edges(frame, r) for r in (2.0, R_MAX)] for frame in FRAMES]
    assert shard.column("edge_counts").tolist() == expected


def test_composition_lists_elements_of_each_frame(tmp_path):
    num_elements, numbers, counts = store_of(tmp_path, FRAMES[2:4]).shards[0].composition
    assert num_elements.tolist() == [2, 1]
    assert numbers.tolist() == [3, 8, 8]
    assert counts.tolist() == [2, 1, 1]


def test_the_files_of_a_shard_are_told_when_asked(tmp_path):
    shard = store_of(tmp_path, FRAMES).shards[0]
    names = [source["name"] for source in shard.sources]
    assert names == ["atoms.extxyz", "b/other.extxyz", "made.extxyz"]
    assert shard.header.sources is None  # so that thousands are not kept
    assert shard.header.num_shards == 1


def test_a_shard_goes_to_another_process_without_its_texts(tmp_path):
    shard = store_of(tmp_path, FRAMES).shards[0]
    before = len(pickle.dumps(shard))
    assert shard.header.r_max == [R_MAX]
    assert shard.tables["config_types"] == ["IsolatedAtom", "bulk"]
    message = pickle.dumps(shard)
    assert len(message) == before
    assert_equal_frames(pickle.loads(message).frame(4), FRAMES[4])


@pytest.mark.parametrize(
    ("version", "cure"), [(0, "run mace-prepare again"), (2, "update mace-train")]
)
def test_another_schema_is_refused_with_its_cure(tmp_path, version, cure):
    store_of(tmp_path, FRAMES)
    path = tmp_path / "shard-00000.h5"
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = version
    with pytest.raises(
        ValueError, match=rf"shard-00000\.h5 has schema version {version}.*{cure}"
    ):
        Shard(path)


def test_a_foreign_hdf5_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["config_batch_0"] = 1.0
    with pytest.raises(ValueError, match=r"foreign\.h5 is an HDF5 file but no shard"):
        Shard(tmp_path / "foreign.h5")


def test_a_file_that_is_not_hdf5_is_refused(tmp_path):
    (tmp_path / "text.h5").write_text("3\n\nH 0 0 0\n")
    with pytest.raises(DamagedShardError, match=r"text\.h5 is damaged"):
        Shard(tmp_path / "text.h5")


@pytest.mark.parametrize("array", ["atomic_numbers", "positions_decimal", "forces_decimal"])
def test_a_flipped_bit_is_noticed_when_its_frame_is_read(tmp_path, array):
    frames = [made_frame(seed) for seed in range(3)]
    store_of(tmp_path, frames)
    path = tmp_path / "shard-00000.h5"
    with h5py.File(path) as file:
        dataset = file[f"atoms/{array}"]
        place = dataset.id.get_offset() + dataset.id.get_storage_size() // 2
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    shard = Shard(path)
    shard.frame(0)
    message = r"shard-00000\.h5 is damaged .* frame 1 differs.*mace-prepare again"
    with pytest.raises(DamagedShardError, match=message):
        shard.frame(1)


def test_real_frames_are_lossless_and_below_1400_bytes(tmp_path):
    path = SHARED_DATA / "mptrj_random_dev.extxyz"
    if not path.exists():
        pytest.skip("needs the real MPtrj frames of ../shared/data")
    report = prepare_shards([path], tmp_path, keys=LabelKeys(), r_max=[4.0])
    shard = Shard(report.shards[0])
    assert report.num_bytes / len(shard) < 1400
    for place, frame in enumerate(read_frames(path, keys=LabelKeys())):
        assert_equal_frames(shard.frame(place), frame, but=["source"])
