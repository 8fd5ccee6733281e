"""Kinds of files, by name and by their beginning."""

import json
import sqlite3
from contextlib import closing

import pytest
from made_files import write_zip

from mace_train.data.file_kinds import (
    frame_files,
    is_shard,
    kind_in_folder,
    kind_of_named,
)

MPTRJ = json.dumps({"mp-1": {"mp-1-0-0": {"structure": {}}}})


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.xyz", "", "extended XYZ"),
        ("a.EXTXYZ.bz2", "", "extended XYZ"),
        ("shard-1.H5", "", "shards"),
        ("a.tar.gz", "", "archive"),
        ("a.db", "", "ASE database"),
        ("a.aselmdb", "", "ASE database"),
        ("a.traj", "", "file that ASE reads"),
        ("OUTCAR.gz", "", "file that ASE reads"),
        ("vasprun.xml", "", "file that ASE reads"),
        ("m.json", MPTRJ, "MPtrj's JSON"),
        ("results.json", "{}", ""),
        ("a.cif", "data_", ""),
        ("notes.txt", "", ""),
    ],
)
def test_what_is_taken_from_a_folder(tmp_path, name, content, kind):
    (tmp_path / name).write_text(content)

    assert kind_in_folder(tmp_path / name) == kind


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.cif", "data_", "file that ASE reads"),
        ("relax.OUTCAR.old", "x", "file that ASE reads"),
        ("rows.json", '{"1": {}}', "ASE database"),
    ],
)
def test_what_is_named_may_be_anything_that_ase_reads(tmp_path, name, content, kind):
    (tmp_path / name).write_text(content)

    assert kind_of_named(tmp_path / name) == kind


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("a.zst", "pack it as .xz or .gz"),
        ("a.lmdb", "pickled objects of another program, which mace-train does not execute"),
        ("notes.txt", "ase convert notes.txt notes.extxyz"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_cure(tmp_path, name, cure):
    (tmp_path / name).write_text("x")

    with pytest.raises(ValueError, match=f"neither extended XYZ.*{cure}"):
        kind_of_named(tmp_path / name)


def test_an_archive_becomes_its_members(tmp_path):
    path = write_zip(tmp_path / "a.zip", {"x/a.xyz": "1", "x/b.xyz": "2"})

    assert [str(file) for file in frame_files(path)] == [
        f"{path}/x/a.xyz",
        f"{path}/x/b.xyz",
    ]


def test_other_files_know_their_form(tmp_path):
    forms = {"a.xyz": "extxyz", "a.db": "ase_database", "a.traj": "ase_file"}
    assert {name: frame_files(tmp_path / name)[0].form for name in forms} == forms


def test_shards_are_known_by_their_name(tmp_path):
    assert is_shard(tmp_path / "a.hdf5")
    assert not is_shard(tmp_path / "a.xyz")


def test_a_database_of_another_program_is_no_frames_of_a_folder(tmp_path):
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as rows:
        rows.execute("CREATE TABLE runs (id INTEGER)")

    assert kind_in_folder(path) == ""
    assert kind_of_named(path) == "ASE database"  # whose reader says what it is
