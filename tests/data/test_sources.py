"""What a user may name as data, and what is told where there is none."""

import pytest

from mace_train.data.sources import expand_sources, is_shard, sample_path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "b.xyz",
        "part10.extxyz",
        "part2.extxyz",
        "deep/c.extxyz.gz",
        "deep/.hidden.xyz",
        "notes.txt",
        "shards/shard-10.h5",
        "shards/shard-9.h5",
        "run [1].xyz",
        "empty/readme.md",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def names(paths, folder):
    return [str(path.relative_to(folder)) for path in paths]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("b.xyz", ["b.xyz"]),
        ("deep", ["deep/c.extxyz.gz"]),
        ("shards", ["shards/shard-9.h5", "shards/shard-10.h5"]),
        ("part*.extxyz", ["part2.extxyz", "part10.extxyz"]),
        ("**/*.gz", ["deep/c.extxyz.gz"]),
        ("d*p", ["deep/c.extxyz.gz"]),
        ("run [1].xyz", ["run [1].xyz"]),
        (["part2.extxyz", "b.xyz"], ["part2.extxyz", "b.xyz"]),
        (["b.xyz", "part*"], ["b.xyz", "part2.extxyz", "part10.extxyz"]),
    ],
)
def test_files_folders_globs_and_lists_are_found(folder, spec, expected):
    assert names(expand_sources(spec), folder) == expected


def test_an_absolute_name_needs_no_folder(folder):
    assert expand_sources(str(folder / "b.xyz")) == [folder / "b.xyz"]
    assert expand_sources(folder / "part*") == expand_sources("part*")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (["b.xyz", "no.xyz", "nor/*.xyz"], r"found no data at no\.xyz, nor/\*\.xyz"),
        ("empty", "found no data at empty"),
        ([], "no data named"),
        ("notes.txt", r"neither extended XYZ.*ase convert notes\.txt notes\.extxyz"),
        (["shards", "b.xyz"], r"are mixed: name one kind"),
        (".", r"are mixed"),
        (["b.xyz", "b.*"], r"b\.xyz is named twice"),
    ],
)
def test_what_cannot_be_used_is_refused(folder, spec, message):
    with pytest.raises(ValueError, match=message):
        expand_sources(spec)


def test_an_archive_is_to_be_unpacked(folder):
    (folder / "mptrj.zip").touch()

    with pytest.raises(ValueError, match="unpack it and name its folder"):
        expand_sources("mptrj.zip")


def test_the_sample_comes_with_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert expand_sources("sample") == [sample_path()]
    assert sample_path().is_file()


def test_a_folder_called_sample_goes_first(folder):
    (folder / "sample").mkdir()
    (folder / "sample" / "mine.xyz").touch()

    assert names(expand_sources("sample"), folder) == ["sample/mine.xyz"]


def test_shards_are_known_by_their_name(folder):
    assert is_shard(folder / "shard-1.H5")
    assert not is_shard(folder / "b.xyz")
