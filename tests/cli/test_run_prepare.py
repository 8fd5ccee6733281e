import logging
import zipfile
from pathlib import Path

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


def test_refused_frames_are_told_with_the_two_ways_on(frames_file, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    path = Path(frames_file)
    path.write_text(path.read_text().replace("energy=", "energy=nan x=", 1))

    with pytest.raises(ValueError, match="1 of 10 frames") as caught:
        prepare(frames_file, tmp_path)

    listing = tmp_path / "shards" / "refused.txt"
    assert f"are listed in {listing}: 1. The other 9 are in the shards" in str(caught.value)
    assert "by the same command with bad_frames=leave_out" in str(caught.value)

    report = prepare(frames_file, tmp_path, "bad_frames=leave_out")

    assert (report.num_written, report.census.num_frames) == (0, 9)
    assert (
        f"1 frames are left out since they cannot be used; all are listed in {listing}"
        in (caplog.text)
    )
    assert "labels: energy 9/9, forces 9/9, stress 9/9, refused 1" in caplog.text


def test_archives_are_prepared_as_they_are(frames_file, tmp_path):
    archive = tmp_path / "frames.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(frames_file, "set/frames.xyz")

    one, two = (
        run(compose("prepare", [f"data.train={path}", f"output={output}", "workers=1"]))
        for path, output in ((frames_file, tmp_path / "one"), (archive, tmp_path / "two"))
    )

    assert [p.read_bytes() for p in one.shards] == [p.read_bytes() for p in two.shards]


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
