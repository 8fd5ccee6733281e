"""Scanning: frames are counted and found without being read."""

import gzip
import hashlib
import lzma
from pathlib import Path

import pytest
from made_stores import spread_frame, write_extxyz

from mace_train.data.scan import scan_sources, short_names


@pytest.fixture
def path(tmp_path):
    return write_extxyz(tmp_path / "a.extxyz", [spread_frame(seed) for seed in range(10)])


def test_frames_are_counted_and_summed(path):
    (source,) = scan_sources([path], stride=4)
    assert source.num_frames == 10
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert source.name == "a.extxyz"


def test_marks_say_where_frames_begin(path):
    (source,) = scan_sources([path], stride=4)
    assert [mark.frame for mark in source.marks] == [0, 4, 8]
    for mark in source.marks:
        text = path.read_bytes()[mark.offset :].decode()
        assert text.startswith("3\nLattice")
        assert f"energy={spread_frame(mark.frame).energy!r} " in text.splitlines()[1]
        assert path.read_text().splitlines()[mark.line - 1 :] == text.splitlines()


@pytest.mark.parametrize(("suffix", "module"), [(".gz", gzip), (".xz", lzma)])
def test_packed_files_are_counted_too(path, suffix, module):
    packed = path.with_suffix(f".extxyz{suffix}")
    packed.write_bytes(module.compress(path.read_bytes()))
    plain, found = scan_sources([path, packed], stride=4)
    assert found.marks == plain.marks
    assert found.num_frames == 10


def test_blank_lines_and_vectors_between_frames_are_passed_over(path):
    text = path.read_text()
    first = len(text.splitlines()[0]) + 1
    path.write_text("\n" + text + "VEC1 1 0 0\n\n" + text)
    (source,) = scan_sources([path], stride=10)
    assert source.num_frames == 20
    assert path.read_text()[source.marks[1].offset :] == text
    assert source.marks[0].offset == 1
    assert first == 2


@pytest.mark.parametrize(
    "tail", ["", "garbage\n", "3\ncut off\nLi 0 0 0\n", "-5\nx\n", f"{10**30}\nx\n"]
)
def test_counting_ends_where_the_file_makes_no_sense(path, tail):
    path.write_text(path.read_text() + tail)
    assert scan_sources([path], stride=4)[0].num_frames == 10


@pytest.mark.parametrize(("suffix", "module"), [(".gz", gzip), (".xz", lzma)])
def test_counting_ends_where_a_packed_file_is_cut_off(path, suffix, module):
    packed = path.with_suffix(f".extxyz{suffix}")
    packed.write_bytes(module.compress(path.read_bytes())[:-100])
    (source,) = scan_sources([packed], stride=4)
    assert source.num_frames < 10


def test_an_empty_file_has_no_frames(tmp_path):
    (tmp_path / "empty.xyz").touch()
    (source,) = scan_sources([tmp_path / "empty.xyz"], stride=4)
    assert source.num_frames == 0
    assert source.marks == ()


def test_names_are_as_short_as_they_can_be():
    paths = [Path(p) for p in ("/a/x/t.xyz", "/a/y/t.xyz", "/b/y/t.xyz", "/b/s.xyz")]
    assert short_names(paths) == ["x/t.xyz", "a/y/t.xyz", "b/y/t.xyz", "s.xyz"]


def test_one_file_named_twice_has_one_name():
    assert short_names([Path("/a/t.xyz"), Path("/a/t.xyz")]) == ["t.xyz", "t.xyz"]
