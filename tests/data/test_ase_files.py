"""What ASE reads: formats by name and content, labels from the calculator."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mace_train.data.ase_files import AseFormat, ase_format, raw_from_atoms
from mace_train.data.frame_reader import LabelKeys, read_frames
from mace_train.data.frame_source import BrokenFileError, FrameFile, Span


def crystal(seed):
    generator = np.random.default_rng(seed)
    atoms = Atoms("LiF", [[0, 0, 0], [2, 2.5, 3]], cell=[4, 5, 6], pbc=True)
    atoms.positions += generator.normal(0, 0.05, (2, 3))
    forces, stress = generator.normal(size=(2, 3)), 0.01 * generator.normal(size=6)
    atoms.calc = SinglePointCalculator(atoms, energy=-9.0, forces=forces, stress=stress)
    return atoms


@pytest.fixture
def trajectory(tmp_path):
    ase.io.write(tmp_path / "run@1.traj", [crystal(seed) for seed in range(7)])
    return FrameFile(tmp_path / "run@1.traj", "ase_file")


def test_frames_carry_the_results_of_the_calculator(trajectory):
    frames = list(read_frames(trajectory, keys=LabelKeys()))

    assert len(frames) == 7
    for seed, frame in enumerate(frames):
        atoms = crystal(seed)
        assert (frame.energy, frame.index) == (-9.0, seed)
        np.testing.assert_array_equal(frame.forces, atoms.calc.results["forces"])
        np.testing.assert_array_equal(frame.stress, atoms.get_stress(voigt=False))


def test_spans_between_marks_make_up_the_whole(trajectory):
    contents = AseFormat().scan(trajectory, stride=3)

    assert contents.num_frames == 7
    assert [mark.frame for mark in contents.marks] == [0, 3, 6]
    found = [
        raw.index
        for pair in zip(contents.marks, [*contents.marks[1:], None])
        for raw in AseFormat().read(trajectory, Span(*pair), wanted=())
    ]
    assert found == list(range(7))


def test_a_file_of_one_structure_is_read(tmp_path):
    ase.io.write(tmp_path / "a.cif", crystal(0))
    file = FrameFile(tmp_path / "a.cif", "ase_file")

    assert AseFormat().scan(file, stride=3).num_frames == 1
    (frame,) = read_frames(file, keys=LabelKeys())
    assert (frame.formula, frame.energy) == ("LiF", None)


def test_a_file_that_ase_cannot_read_is_told(tmp_path):
    (tmp_path / "a.traj").write_text("no trajectory")
    file = FrameFile(tmp_path / "a.traj", "ase_file")

    assert AseFormat().scan(file, stride=3).num_frames == 0
    with pytest.raises(BrokenFileError, match="as traj, ASE says"):
        list(AseFormat().read(file, Span(), wanted=()))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("OUTCAR", "vasp", "vasp-out"),
        ("a.png", "x", ""),
        ("notes.txt", "x", ""),
        ("e", "", ""),
    ],
)
def test_formats_are_told_by_ase(tmp_path, name, content, expected):
    (tmp_path / name).write_text(content)

    assert ase_format(tmp_path / name) == expected


def test_columns_and_values_are_told_apart():
    atoms = crystal(0)
    atoms.info["charge"] = 1
    atoms.arrays["q"] = np.arange(2.0)

    raw = raw_from_atoms(atoms, index=3, line_number=5)

    assert set(raw.values) == {"charge", "energy", "stress"}
    assert set(raw.columns) == {"q", "forces"}
    assert set(raw.names) == {*raw.values, *raw.columns}
    assert (raw.index, raw.line_number) == (3, 5)


@pytest.mark.parametrize("name", ["a.traj", "OUTCAR", "a.cif"])
def test_an_empty_file_is_told(tmp_path, name):
    (tmp_path / name).touch()
    file = FrameFile(tmp_path / name, "ase_file")

    assert AseFormat().scan(file, stride=3).num_frames == 0
    with pytest.raises(BrokenFileError, match="and all that follow cannot be read"):
        list(AseFormat().read(file, Span(), wanted=()))
