"""Notes of a scan: used while nothing changed, and gone when they are not needed."""

import os
import socket
from pathlib import Path

import pytest

from mace_train.data.frame_source import FrameFile, Mark
from mace_train.data.scan import Source
from mace_train.data.scan_notes import forget_scan, noted_scan

SOURCES = [
    Source(FrameFile(Path("/a/é.xyz")), "é.xyz", "1f", 3, (Mark(), Mark(2, 50, 9))),
    Source(FrameFile(Path("/a.tar"), "extxyz", "m.xyz", 512, 99), "m.xyz", "2f", 0),
]


def never():
    raise AssertionError("the files were looked through again")


def test_a_second_scan_is_read_from_the_notes(tmp_path):
    assert noted_scan(tmp_path, "f-1", lambda: SOURCES) == SOURCES
    assert noted_scan(tmp_path, "f-1", never) == SOURCES


def test_other_files_are_scanned_anew(tmp_path):
    noted_scan(tmp_path, "f-1", lambda: SOURCES)

    assert noted_scan(tmp_path, "f-2", lambda: SOURCES[:1]) == SOURCES[:1]


@pytest.mark.parametrize("text", ["", "garbage", '"f-1"\n[1]\n', '"f-1"\n{"x'])
def test_notes_that_make_no_sense_are_passed_over(tmp_path, text):
    (tmp_path / "scan.jsonl").write_text(text)

    assert noted_scan(tmp_path, "f-1", lambda: SOURCES) == SOURCES


def test_notes_are_forgotten(tmp_path):
    noted_scan(tmp_path, "f-1", lambda: SOURCES)
    forget_scan(tmp_path)
    forget_scan(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_file_tells_its_machine_and_process(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        noted_scan(tmp_path, "f-1", lambda: SOURCES)

    (path,) = tmp_path.iterdir()
    assert path.name == f".scan.jsonl.{socket.gethostname()}.{os.getpid()}.tmp"
