"""Refused frames are listed, cost no other frame, and need the user's word."""

import os
import socket
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from made_stores import made_frame, spread_frame, store_of, write_extxyz

from mace_train.data import census as census_module
from mace_train.data.labels import LabelKeys
from mace_train.data.prepare import prepare_shards
from mace_train.data.problems import FrameError, Place, ProblemLog
from mace_train.data.refused import (
    RefusedFramesError,
    accept,
    check_accepted,
    withdraw_acceptance,
    write_list,
)
from mace_train.data.shards import Shard


def log_of(*places):
    log = ProblemLog()
    for place in places:
        log.add(
            FrameError("have\ta NaN", cure="Remove them.", detail="F is\nnan"), place=place
        )
    return log


def test_each_frame_has_a_line(tmp_path):
    log = log_of(Place("/x/a.xyz", 3, "H2"), Place("/x/b.xyz", 5))

    path = write_list(tmp_path, log)

    assert path.read_text().splitlines() == [
        "file\tframe\tformula\twhat is wrong\tcure",
        "/x/a.xyz\t3\tH2\thave a NaN (F is nan)\tRemove them.",
        "/x/b.xyz\t5\t\thave a NaN (F is nan)\tRemove them.",
    ]


def test_without_refused_frames_there_is_no_list(tmp_path):
    write_list(tmp_path, log_of(Place("a.xyz", 1)))

    assert not write_list(tmp_path, ProblemLog()).exists()
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_no_text_can_be_listed(tmp_path):
    assert write_list(tmp_path, log_of(Place("h\udce9.xyz", 1))).exists()


def test_shards_without_refused_frames_need_no_word(tmp_path):
    check_accepted(store_of(tmp_path, [made_frame(0)]).shards)


def test_acceptance_holds_for_one_preparation_until_it_is_withdrawn(tmp_path):
    shards = store_of(tmp_path, [made_frame(0)]).shards
    shards[0].header.census["problems"] = log_of(Place("a.xyz", 1)).to_dict()
    refusal = r"made of data with 1 refused frames .*refused\.txt.*bad_frames=leave_out"

    with pytest.raises(ValueError, match=refusal):
        check_accepted(shards)
    accept(tmp_path, "other", num_refused=1)
    with pytest.raises(ValueError, match=refusal):
        check_accepted(shards)
    accept(tmp_path, shards[0].preparation, num_refused=1)
    check_accepted(shards)
    withdraw_acceptance(tmp_path)
    with pytest.raises(ValueError, match=refusal):
        check_accepted(shards)


prepare = partial(prepare_shards, keys=LabelKeys(), r_max=[3.0], frames_per_shard=8)


@pytest.fixture
def files(tmp_path):
    """Three files of 40 frames in all."""
    frames = [spread_frame(k) for k in range(40)]
    parts = {"a": frames[:21], "b": frames[21:24], "c": frames[24:]}
    return [write_extxyz(tmp_path / f"{name}.extxyz", part) for name, part in parts.items()]


def spoil(path, number=1):
    """Make the energies of the first frames NaN."""
    path.write_text(path.read_text().replace("energy=", "energy=nan other=", number))


@pytest.mark.parametrize("workers", [1, 2])
def test_refused_frames_are_listed_and_the_shards_of_the_others_stay(
    files, tmp_path, workers
):
    spoil(files[0], 2)
    spoil(files[2])
    output = tmp_path / "out"

    with pytest.raises(RefusedFramesError, match=r"3 of 40.*a\.extxyz, frame 0") as caught:
        prepare(files, output, workers=workers)

    assert (caught.value.num_refused, caught.value.num_kept) == (3, 37)
    lines = (output / "refused.txt").read_text().splitlines()
    listed = [line.split("\t")[:4] for line in lines]
    bad = "have an energy that is NaN or infinite (energy is nan)"
    assert listed == [
        ["file", "frame", "formula", "what is wrong"],
        [str(files[0]), "0", "Li2O", bad],
        [str(files[0]), "1", "Li2O", bad],
        [str(files[2]), "0", "Li2O", bad],
    ]
    assert "remove or recompute" in lines[1]
    assert len(list(output.glob("*.h5"))) == 5


def test_shards_without_the_bad_frames_are_accepted_as_they_are(files, tmp_path):
    spoil(files[1])
    output = tmp_path / "out"
    with pytest.raises(RefusedFramesError):
        prepare(files, output)
    before = {path: path.stat() for path in output.glob("*.h5")}

    report = prepare(files, output, bad_frames="leave_out")

    assert report.num_written == 0
    assert {path: path.stat() for path in report.shards} == before
    assert (report.census.num_frames, report.census.problems.count) == (39, 1)
    assert report.refused_list.read_text().count("\n") == 2
    assert sum(len(Shard(path)) for path in report.shards) == 39


def test_leaving_out_from_the_start_gives_the_same_shards(files, tmp_path):
    spoil(files[1])
    with pytest.raises(RefusedFramesError):
        prepare(files, tmp_path / "one")
    one = prepare(files, tmp_path / "one", bad_frames="leave_out")
    two = prepare(files, tmp_path / "two", bad_frames="leave_out", workers=2)
    assert [p.read_bytes() for p in one.shards] == [p.read_bytes() for p in two.shards]


def test_wrong_units_are_refused_whatever_is_said_of_bad_frames(tmp_path):
    frames = [spread_frame(k) for k in range(30)]
    in_kbar = [replace(frame, stress=-1602.18 * frame.stress) for frame in frames]
    path = write_extxyz(tmp_path / "kbar.extxyz", in_kbar)
    spoil(path)
    with pytest.raises(ValueError, match=r"2 problems[\s\S]*probably it is in kBar"):
        prepare([path], tmp_path / "out", bad_frames="leave_out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["refused.txt"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_set_of_bad_frames_is_not_read_to_its_end(files, tmp_path, workers, monkeypatch):
    monkeypatch.setattr(census_module, "STOP_AFTER", 3)
    for path in files:
        spoil(path, 99)
    with pytest.raises(ValueError, match="3 of 3 frames have an energy that is NaN"):
        prepare(files, tmp_path / "out", bad_frames="leave_out", workers=workers)
    assert (tmp_path / "out" / "refused.txt").read_text().count("NaN") == 3


def test_data_without_any_good_frame_are_refused(tmp_path):
    path = write_extxyz(tmp_path / "a.extxyz", [spread_frame(1)])
    spoil(path)
    with pytest.raises(ValueError, match="1 of 1 frames"):
        prepare([path], tmp_path / "out", bad_frames="leave_out")


def test_an_unfinished_file_tells_its_machine_and_process(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        accept(tmp_path, "p-1", num_refused=1)

    (path,) = tmp_path.iterdir()
    assert path.name == f".accepted.json.{socket.gethostname()}.{os.getpid()}.tmp"
