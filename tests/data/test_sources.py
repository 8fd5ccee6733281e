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


def test_kinds_of_frames_may_lie_side_by_side(folder):
    for name in ("deep/a.traj", "deep/b.db", "deep/run/OUTCAR"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()

    found = names(expand_sources("deep"), folder)

    assert found == ["deep/a.traj", "deep/b.db", "deep/c.extxyz.gz", "deep/run/OUTCAR"]


def test_an_archive_alone_in_a_folder_is_read(folder):
    (folder / "empty" / "mptrj.zip").touch()

    assert names(expand_sources("empty"), folder) == ["empty/mptrj.zip"]


def test_an_archive_beside_loose_frames_is_passed_over_and_said(folder, caplog):
    (folder / "deep" / "mptrj.zip").touch()

    assert names(expand_sources("deep"), folder) == ["deep/c.extxyz.gz"]
    assert "mptrj.zip passed over" in caplog.text
    assert names(expand_sources(["deep/mptrj.zip", "b.xyz"]), folder) == [
        "deep/mptrj.zip",
        "b.xyz",
    ]


def test_several_archives_in_a_folder_ask_for_a_choice(folder):
    for name in ("training_data.zip", "mp-trj.extxyz.zip"):
        (folder / "empty" / name).touch()

    with pytest.raises(ValueError, match=r"several data sets.*mp-trj\.extxyz\.zip"):
        expand_sources("empty")


def test_two_files_of_one_vasp_run_ask_for_a_choice(folder):
    for name in ("OUTCAR", "vasprun.xml"):
        (folder / "empty" / name).touch()

    with pytest.raises(ValueError, match=r"hold the same frames: name one.*vasprun\.xml"):
        expand_sources("empty")


def test_a_link_to_a_file_that_is_named_too_is_named_twice(folder):
    (folder / "link.xyz").symlink_to(folder / "b.xyz")

    with pytest.raises(ValueError, match=r"link\.xyz is named twice"):
        expand_sources(["b.xyz", "link.xyz"])


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
