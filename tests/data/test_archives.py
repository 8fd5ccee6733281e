"""Archives: their members are found in order; what cannot be read is told."""

import gzip
import io
import tarfile
import zipfile
from warnings import catch_warnings, simplefilter

import pytest
from made_files import write_tar, write_zip

from mace_train.data.archives import archive_members, is_archive, natural_order
from mace_train.data.byte_streams import close_kept_stream, open_stream

TEXTS = {
    "set/mp-10.extxyz": "1\n\nH 0 0 0\n",
    "set/mp-9.extxyz": "1\n\nO 0 0 0\n",
    "set/notes.md": "no frames",
    "__MACOSX/set/mp-9.extxyz": "no frames",
    "set/.mp-9.extxyz": "no frames",
}


def test_members_of_a_zip_come_as_from_a_folder(tmp_path):
    members = archive_members(write_zip(tmp_path / "a.zip", TEXTS))

    assert [member.member for member in members] == ["set/mp-9.extxyz", "set/mp-10.extxyz"]
    assert str(members[0]) == f"{tmp_path}/a.zip/set/mp-9.extxyz"


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_members_of_a_tar_come_in_its_order_with_their_bytes(tmp_path, name):
    members = archive_members(write_tar(tmp_path / name, TEXTS))

    assert [member.member for member in members] == ["set/mp-10.extxyz", "set/mp-9.extxyz"]
    with tarfile.open(tmp_path / name) as archive:
        infos = [archive.getmember(member.member) for member in members]
    assert [(m.begin, m.size) for m in members] == [
        (info.offset_data, info.size) for info in infos
    ]


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_an_archive_without_frames_is_refused(tmp_path, name):
    write = write_zip if name.endswith("zip") else write_tar
    path = write(tmp_path / name, {"notes.md": "no frames"})

    with pytest.raises(ValueError, match=r"holds no extended XYZ .*unpack it"):
        archive_members(path)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_an_incomplete_archive_is_refused(tmp_path, name):
    write = write_zip if name.endswith("zip") else write_tar
    path = write(tmp_path / name, TEXTS)
    path.write_bytes(path.read_bytes()[:100])

    with pytest.raises(ValueError, match=r"damaged or incomplete .* fetch it again"):
        archive_members(path)


def test_archives_are_known_by_their_names(tmp_path):
    names = ["a.zip", "a.TAR", "a.tar.gz", "a.tgz", "a.tar.xz", "a.xyz.gz", "zip"]
    assert [is_archive(tmp_path / name) for name in names] == [True] * 5 + [False] * 2


def test_numbers_are_sorted_as_numbers():
    names = ["mp-10.x", "mp-9.x", "mp.x", "12", "9a"]
    assert sorted(names, key=natural_order) == ["9a", "12", "mp-9.x", "mp-10.x", "mp.x"]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
@pytest.mark.parametrize("is_cut", [True, False])
def test_a_bad_header_is_not_the_end_of_a_tar(tmp_path, name, is_cut):
    path = write_tar(tmp_path / "whole.tar", TEXTS)
    with tarfile.open(path) as archive:
        place = archive.getmembers()[1].offset
    content = path.read_bytes()
    content = content[:place] + (b"" if is_cut else b"x" * 512 + content[place + 512 :])
    pack = gzip.compress if name.endswith(".gz") else bytes
    (tmp_path / name).write_bytes(pack(content))

    with pytest.raises(ValueError, match=r"damaged or incomplete .*at byte 1024"):
        archive_members(tmp_path / name)


def test_of_a_name_that_comes_again_the_last_member_is_read(tmp_path, caplog):
    frames = ["1\n\nH 0 0 0\n", "1\n\nLi 0 0 0\n", "1\n\nO 0 0 0\n"]
    names = ["./a.xyz", "b.xyz", "a.xyz"]
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, text in zip(names, frames):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, catch_warnings():
        simplefilter("ignore")
        for name, text in zip(["a.xyz", "b.xyz", "a.xyz"], frames):
            archive.writestr(name, text)

    for name, order in (("a.tar", [1, 2]), ("a.zip", [2, 1])):
        texts = []
        for member in archive_members(tmp_path / name):
            with open_stream(member) as stream:
                texts.append(stream.read().decode())
        assert texts == [frames[place] for place in order]
    close_kept_stream()
    assert caplog.text.count("holds a.xyz several times: the last one is read") == 2
