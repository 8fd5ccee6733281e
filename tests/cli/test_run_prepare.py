import logging

import h5py
import pytest

from mace_train.cli import run_prepare
from mace_train.cli.command import Interrupted
from mace_train.cli.config import compose
from mace_train.cli.run_prepare import label_keys, run


def prepare(frames_file, tmp_path, *overrides):
    always = [f"data.train={frames_file}", f"output={tmp_path / 'shards'}", "workers=1"]
    return run(compose("prepare", [*always, *overrides]))


def test_shards_are_written_and_their_use_is_told(frames_file, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    report = prepare(frames_file, tmp_path, "frames_per_shard=4")
    assert (len(report.shards), report.census.num_frames) == (3, 10)
    assert all(h5py.is_hdf5(path) for path in report.shards)
    assert "labels: energy 10/10, forces 10/10, stress 10/10" in caplog.text
    assert f"mace-train data=extxyz data.train={tmp_path / 'shards'}" in caplog.text


def test_the_same_command_goes_on(frames_file, tmp_path):
    first = prepare(frames_file, tmp_path, "frames_per_shard=4")
    first.shards[1].unlink()
    assert prepare(frames_file, tmp_path, "frames_per_shard=4").num_written == 1


def test_an_interruption_says_how_to_go_on(frames_file, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_prepare, "prepare_shards", interrupt)
    with pytest.raises(Interrupted, match="the same command goes on"):
        prepare(frames_file, tmp_path)


def test_names_and_units_of_labels_reach_the_reader():
    data = compose(
        "prepare",
        [
            "data.train=sample",
            "output=shards",
            "data.energy_key=dft_energy",
            "data.units.energy=kcal/mol",
        ],
    )["data"]
    keys = label_keys(data)
    assert (keys.energy, keys.forces, keys.energy_unit) == (
        "dft_energy",
        "auto",
        "kcal/mol",
    )
