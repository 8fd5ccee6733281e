"""ASE databases, SQLite and LMDB: every row once, with labels and group keys."""

import shutil
import sqlite3
from contextlib import closing

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from made_stores import SHARED_DATA

from mace_train.data import ase_database
from mace_train.data.ase_database import AseDatabaseFormat, is_of_another_program
from mace_train.data.census import Census
from mace_train.data.frame_reader import LabelKeys, read_frames
from mace_train.data.frame_source import FrameFile, Span

FORMAT = AseDatabaseFormat()
NAMES = [
    "a.db",
    "a.json",
    pytest.param(
        "a.aselmdb",
        marks=pytest.mark.skipif(ase_database.lmdb is None, reason="needs ase-db-backends"),
    ),
]


def crystal(seed):
    generator = np.random.default_rng(seed)
    atoms = Atoms("LiF", [[0, 0, 0], [2, 2.5, 3]], cell=[4, 5, 6], pbc=True)
    forces, stress = generator.normal(size=(2, 3)), 0.01 * generator.normal(size=6)
    atoms.calc = SinglePointCalculator(
        atoms, energy=-9.0 - seed, forces=forces, stress=stress
    )
    return atoms


@pytest.fixture(params=NAMES)
def database(tmp_path, request):
    """Nine rows, two of which were deleted."""
    path = tmp_path / request.param
    with ase.db.connect(path) as rows:
        for seed in range(9):
            data = {"my_forces": np.full((2, 3), float(seed))}
            rows.write(crystal(seed), mp_id=f"mp-{seed}", my_energy=-1.0 * seed, data=data)
        rows.delete([1, 5])
    return FrameFile(path, "ase_database")


def other_database(path):
    """A database of SQLite, with a table of another program."""
    with closing(sqlite3.connect(path)) as rows:
        rows.execute("CREATE TABLE runs (id INTEGER)")
        rows.commit()
    return path


SEEDS = [1, 2, 3, 5, 6, 7, 8]


def test_rows_are_frames_with_labels_and_groups(database):
    frames = list(read_frames(database, keys=LabelKeys()))

    assert [frame.energy for frame in frames] == [-9.0 - seed for seed in SEEDS]
    assert [frame.index for frame in frames] == list(range(7))
    assert [frame.groups for frame in frames] == [{"mp_id": f"mp-{s}"} for s in SEEDS]
    for seed, frame in zip(SEEDS, frames):
        atoms = crystal(seed)
        np.testing.assert_array_equal(frame.forces, atoms.calc.results["forces"])
        np.testing.assert_allclose(frame.stress, atoms.get_stress(voigt=False), rtol=1e-15)


def test_labels_of_other_names_are_found_beside(database):
    keys = LabelKeys(energy="my_energy", forces="my_forces")

    frames = list(read_frames(database, keys=keys))

    assert [frame.energy for frame in frames] == [-1.0 * seed for seed in SEEDS]
    assert [frame.forces[0, 0] for frame in frames] == [float(seed) for seed in SEEDS]


def test_labels_of_other_names_are_offered(database):
    census = Census()

    list(read_frames(database, keys=LabelKeys(), census=census))

    offered = {"energy": {"my_energy": 7}, "forces": {"my_forces": 7}}
    assert census.keys.offered == offered


@pytest.mark.parametrize("stride", [1, 3, 100])
def test_spans_between_marks_make_up_the_whole(database, stride):
    contents = FORMAT.scan(database, stride=stride)

    assert contents.num_frames == 7
    found = [
        (raw.index, raw.values["mp_id"])
        for pair in zip(contents.marks, [*contents.marks[1:], None])
        for raw in FORMAT.read(database, Span(*pair), wanted=())
    ]
    assert found == [(place, f"mp-{seed}") for place, seed in enumerate(SEEDS)]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_database_is_refused(tmp_path, name):
    (tmp_path / name).write_text("{}")

    with pytest.raises(ValueError, match="is no ASE database, or a damaged one"):
        FORMAT.scan(FrameFile(tmp_path / name, "ase_database"), stride=3)


def test_lmdb_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(ase_database, "lmdb", None)

    with pytest.raises(ValueError, match=r"is an LMDB: .*pip install 'mace-train\[lmdb\]'"):
        FORMAT.scan(FrameFile(tmp_path / "a.aselmdb", "ase_database"), stride=3)


def test_a_real_database_of_mptrj_is_read_where_it_cannot_be_written(tmp_path):
    real = SHARED_DATA / "mptrj_orb10.db"
    if not real.exists():
        pytest.skip("needs ../shared/data")
    shutil.copy(real, tmp_path / "a.db")
    (tmp_path / "a.db").chmod(0o444)

    frames = list(
        read_frames(FrameFile(tmp_path / "a.db", "ase_database"), keys=LabelKeys())
    )

    expected = ase.io.read(real, ":")
    assert [frame.energy for frame in frames] == [
        a.get_potential_energy() for a in expected
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]


def test_a_database_of_another_program_is_refused_and_not_written(tmp_path):
    path = other_database(tmp_path / "mlflow.db")
    content = path.read_bytes()

    with pytest.raises(ValueError, match=r"is no ASE database.*no table of structures"):
        FORMAT.scan(FrameFile(path, "ase_database"), stride=3)

    assert path.read_bytes() == content


def test_databases_of_other_programs_are_told_apart(tmp_path):
    with ase.db.connect(tmp_path / "a.db") as rows:
        rows.write(crystal(0))
    (tmp_path / "thumbs.db").write_bytes(b"of another program")
    (tmp_path / "cut.db").write_bytes((tmp_path / "a.db").read_bytes()[:50])
    (tmp_path / "empty.db").touch()
    other_database(tmp_path / "other.db")

    paths = sorted(tmp_path.glob("*.db"))
    assert [path.stem for path in paths if is_of_another_program(path)] == [
        "other",
        "thumbs",
    ]


def test_a_name_in_capitals_is_a_database(tmp_path):
    with ase.db.connect(tmp_path / "a.db") as rows:
        rows.write(crystal(4))
    (tmp_path / "a.db").rename(tmp_path / "A.DB")
    file = FrameFile(tmp_path / "A.DB", "ase_database")

    assert FORMAT.scan(file, stride=3).num_frames == 1
    assert [frame.energy for frame in read_frames(file, keys=LabelKeys())] == [-13.0]


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_rows_are_the_same_in_chunks(database, chunk, monkeypatch):
    monkeypatch.setattr(ase_database, "_CHUNK", chunk)
    marks = FORMAT.scan(database, stride=4).marks

    found = [raw.values["mp_id"] for raw in FORMAT.read(database, Span(), wanted=())]
    begin = [raw.index for raw in FORMAT.read(database, Span(*marks), wanted=())]

    assert found == [f"mp-{seed}" for seed in SEEDS]
    assert begin == [0, 1, 2, 3]


def test_a_ragged_value_is_no_column(tmp_path):
    with ase.db.connect(tmp_path / "a.db") as rows:
        rows.write(crystal(0), data={"neighbors": [[1], [0, 1]]})

    file = FrameFile(tmp_path / "a.db", "ase_database")
    (raw,) = FORMAT.read(file, Span(), wanted=())

    assert raw.values["neighbors"] == [[1], [0, 1]]
    assert "neighbors" not in raw.columns


def test_a_row_without_sense_costs_no_other(database, monkeypatch):
    def damaged(row, index):
        if index == 2:
            raise ValueError("no sense")
        return original(row, index)

    original = ase_database._raw_from_row
    monkeypatch.setattr(ase_database, "_raw_from_row", damaged)

    found = list(FORMAT.read(database, Span(), wanted=()))

    (index, problem) = found.pop(2)
    assert (index, "are in rows that cannot be read" in str(problem)) == (2, True)
    assert [raw.index for raw in found] == [0, 1, 3, 4, 5, 6]
