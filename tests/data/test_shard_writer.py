"""Writing shards: complete or not at all."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from made_stores import made_frame, store_of

from mace_train.data.columns import ArrayFile
from mace_train.data.shard_writer import ShardWriter


def test_a_failed_write_leaves_no_shard(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("mace_train.data.shard_writer.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        store_of(tmp_path, [made_frame(0)])
    assert not list(tmp_path.glob("*.h5"))


def test_a_shard_can_be_read_with_h5py_alone(tmp_path):
    frames = [made_frame(seed) for seed in range(3)]
    store_of(tmp_path, frames)
    with h5py.File(tmp_path / "shard-00000.h5") as file:
        assert file.attrs["schema_version"] == 1
        start = file["frames/positions_start"][1]
        stored = file["atoms/positions_decimal"][start : start + 3] / 1e8
        np.testing.assert_array_equal(stored, frames[1].positions)
        assert file["frames/energy"][2] == frames[2].energy


def test_the_sum_of_squared_forces_is_kept(tmp_path):
    frame = made_frame(0)
    store_of(tmp_path, [frame])
    kept = ArrayFile(tmp_path / "shard-00000.h5").array("frames/force_square_sum")
    assert kept[0] == pytest.approx(np.sum(frame.forces**2), rel=1e-15)


def test_length_is_the_number_of_frames_added():
    writer = ShardWriter(0)
    writer.add(made_frame(0), source="a", edge_counts=[])
    assert len(writer) == 1


def test_names_are_numbered_in_order_of_appearance(tmp_path):
    names = ("b", "a", None, "b")
    frames = [replace(made_frame(0), config_type=name) for name in names]
    (shard,) = store_of(tmp_path, frames).shards
    assert shard.column("config_type").tolist() == [0, 1, -1, 0]
    assert shard.tables["config_types"] == ["b", "a"]
