"""Bytes are the same wherever they lie; packed ones are unpacked once, going forward."""

import bz2
import gzip
import hashlib
import lzma
import zipfile
from pathlib import Path

import pytest
from made_files import write_tar, write_zip

from mace_train.data import byte_streams
from mace_train.data.archives import archive_members
from mace_train.data.byte_streams import checksum, close_kept_stream, open_stream
from mace_train.data.frame_source import FrameFile

TEXT = "".join(f"line {number}\n" for number in range(100_000))
CONTENT = TEXT.encode()


def made(folder: Path, name: str) -> FrameFile:
    """The content in a file of that name, after some other member in an archive."""
    path = folder / name
    if name.startswith("archive"):
        write = write_zip if name.endswith("zip") else write_tar
        write(path, {"a.xyz": "other", "b.xyz": TEXT})
        return archive_members(path)[1]
    pack = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}
    path.write_bytes(pack.get(path.suffix, bytes)(CONTENT))
    return FrameFile(path)


NAMES = ["a.xyz", "a.xyz.gz", "a.xyz.xz", "a.xyz.bz2"]
NAMES += ["archive.zip", "archive.tar", "archive.tar.gz"]


@pytest.fixture(autouse=True)
def _closed():
    yield
    close_kept_stream()


@pytest.mark.parametrize("name", NAMES)
def test_any_part_can_be_read(tmp_path, name):
    file = made(tmp_path, name)
    for begin, end in [(0, None), (0, 50), (70, 90), (20, 1_000_000), (1_000_000, None)]:
        with open_stream(file, begin=begin, end=end) as stream:
            assert stream.read() == CONTENT[begin:end]


@pytest.mark.parametrize("name", NAMES)
def test_lines_end_where_the_part_ends(tmp_path, name):
    file = made(tmp_path, name)
    with open_stream(file, begin=7, end=20) as stream:
        assert list(stream) == [b"line 1\n", b"line 2"]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "a.xyz"])
def test_parts_in_turn_unpack_a_file_once(tmp_path, name, monkeypatch):
    opened = []
    for function in ("open_packed", "_archive"):
        original = getattr(byte_streams, function)
        monkeypatch.setattr(
            byte_streams, function, lambda *a, f=original: opened.append(a) or f(*a)
        )
    file = made(tmp_path, name)
    parts = []
    for begin in range(0, len(CONTENT), 100_000):
        with open_stream(file, begin=begin, end=begin + 100_000) as stream:
            parts.append(stream.read())
    assert b"".join(parts) == CONTENT
    assert len(opened) == 1


@pytest.mark.parametrize("name", ["a.xyz.gz", "archive.tar.gz"])
def test_two_readers_of_one_file_do_not_disturb_each_other(tmp_path, name):
    file = made(tmp_path, name)
    with open_stream(file, begin=7) as one, open_stream(file, begin=14) as other:
        lines = [(one.readline(), other.readline()) for _ in range(2)]
    assert lines == [(b"line 1\n", b"line 2\n"), (b"line 2\n", b"line 3\n")]


def test_checksums_are_of_the_file_or_of_the_unpacked_member(tmp_path):
    packed = made(tmp_path, "a.xyz.gz")
    assert checksum(packed) == hashlib.sha256(packed.path.read_bytes()).hexdigest()
    for name in ("a.xyz", "archive.zip", "archive.tar.gz"):
        assert checksum(made(tmp_path, name)) == hashlib.sha256(CONTENT).hexdigest()


def test_a_member_that_cannot_be_unpacked_has_a_checksum_all_the_same(tmp_path):
    texts = {"a.xyz": "1\n\nH 0 0 0\n", "b.xyz": "1\n\nO 0 0 0\n"}
    path = write_zip(tmp_path / "a.zip", texts)
    one, other = archive_members(path)
    whole = [checksum(one), checksum(other)]
    byte_streams._archive.cache_clear()
    damaged = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            place = info.header_offset + 30 + len(info.filename) + len(info.extra)
            size = info.compress_size
            damaged = damaged[:place] + b"\xff" * size + damaged[place + size :]
    path.write_bytes(damaged)

    sums = [checksum(one), checksum(other)]

    assert len({*whole, *sums}) == 4
    assert sums == [checksum(one), checksum(other)]
    byte_streams._archive.cache_clear()
