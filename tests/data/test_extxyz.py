"""Files are cut into frames, packed or not; broken ones say where they are broken."""

import gzip
import io
import lzma

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from mace_train.data.extxyz import (
    BrokenFileError,
    iterate_text_frames,
    open_at,
    read_raw_frames,
    read_with_ase,
)
from mace_train.data.plain_frame import RawFrame, TextFrame

FRAME = '{n}\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 energy={e}\n'


def content(*sizes):
    """Frames with the given numbers of atoms and energies 0, 1, 2, ..."""
    return "".join(
        FRAME.format(n=n, e=e) + "".join(f"H 0 0 {atom}\n" for atom in range(n))
        for e, n in enumerate(sizes)
    )


def energies(file, **options):
    raws = read_raw_frames(file, wanted={"energy"}, **options)
    return [(raw.index, raw.line_number, raw.values["energy"]) for raw in raws]


ALL = [(0, 1, 0), (1, 5, 1), (2, 8, 2)]


@pytest.mark.parametrize(("suffix", "opener"), [(".gz", gzip.open), (".xz", lzma.open)])
def test_packed_files_read_as_plain_ones(tmp_path, suffix, opener):
    path = tmp_path / f"frames.xyz{suffix}"
    with opener(path, "wt") as file:
        file.write(content(2, 1, 3))

    with open_at(path) as file:
        assert energies(file) == ALL


def test_reading_can_begin_at_any_frame(tmp_path):
    path = tmp_path / "frames.xyz"
    path.write_text(content(2, 1, 3))

    with open_at(path) as file:
        assert energies(file, start=1) == ALL[1:]


def test_reading_can_begin_at_a_known_byte(tmp_path):
    path = tmp_path / "frames.xyz.gz"
    with gzip.open(path, "wt") as file:
        file.write(content(2, 1, 3))

    with open_at(path, offset=len(content(2))) as file:
        assert energies(file, first=1, line_number=5, start=1) == ALL[1:]


@pytest.mark.parametrize("ending", ["\n", "\n\n  \n", ""])
def test_blank_lines_between_and_after_frames_are_no_frames(ending):
    text = content(1) + "\n" + content(1).rstrip("\n") + ending

    assert len(energies(io.StringIO(text))) == 2


def test_windows_line_ends_are_line_ends(tmp_path):
    path = tmp_path / "frames.xyz"
    path.write_bytes(content(2, 1, 3).replace("\n", "\r\n").encode())

    with open_at(path) as file:
        assert energies(file) == ALL


def test_bytes_that_are_no_text_do_no_harm(tmp_path):
    path = tmp_path / "frames.xyz"
    path.write_bytes(content(1).replace("energy", "who=M\xfcller energy").encode("latin-1"))

    with open_at(path) as file:
        assert energies(file) == [(0, 1, 0)]


def test_a_file_cut_off_says_at_which_line():
    file = io.StringIO(content(2, 3)[:-9])

    frames = iterate_text_frames(file)

    assert next(frames).number == 0
    with pytest.raises(BrokenFileError, match="line 5 announces 3 atoms, 2 follow"):
        next(frames)


def test_a_file_that_ends_with_a_number_is_cut_off():
    with pytest.raises(BrokenFileError, match="line 4 announces 2 atoms, 0 follow"):
        list(iterate_text_frames(io.StringIO(content(1) + "2\n")))


@pytest.mark.parametrize("header", ["garbage", "-1", "2.0", "H 0 0 0"])
def test_a_line_that_is_no_number_of_atoms_is_shown(header):
    text = content(1) + header + "\n" + content(1)

    with pytest.raises(BrokenFileError, match=f"line 4 is '{header}'"):
        list(iterate_text_frames(io.StringIO(text)))


def test_too_many_announced_atoms_show_the_line_where_the_next_frame_begins():
    text = content(2, 1).replace("2\n", "4\n", 1)

    broken = next(read_raw_frames(io.StringIO(text), wanted=()))

    assert "too few columns" in broken[1].what
    assert "line 5 is '1'" in broken[1].detail


def test_garbage_inside_a_frame_is_told_and_the_next_frame_is_read():
    text = content(2).replace("H 0 0 1", "H 0 0 ****") + content(1)

    broken, good = read_raw_frames(io.StringIO(text), wanted=())

    assert "'****'" in broken[1].detail
    assert "from line 1" in broken[1].detail
    assert isinstance(good, RawFrame)


def test_an_unknown_element_is_told():
    broken = next(read_raw_frames(io.StringIO(content(1).replace("H ", "Qq ")), wanted=()))

    assert "KeyError: 'Qq'" in broken[1].detail


def test_labels_of_the_calculator_stand_beside_the_others():
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 1]], cell=[4, 5, 6], pbc=True)
    atoms.info["note"] = {"nested": [1]}
    forces, stress = np.arange(6.0).reshape(2, 3), np.arange(6.0)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=forces, stress=stress)
    file = io.StringIO()
    write(file, atoms, format="extxyz")
    lines = file.getvalue().splitlines(keepends=True)

    raw = read_with_ase(TextFrame(0, 1, lines[0], lines[1], lines[2:], []))

    assert raw.values["energy"] == -1
    assert raw.values["note"] == {"nested": [1]}
    assert raw.values["stress"].tolist() == stress.tolist()
    assert raw.columns["forces"].tolist() == forces.tolist()


def test_cell_vectors_below_the_atoms_belong_to_their_frame():
    vectors = "VEC1 4 0 0\nVEC2 0 4 0\nVEC3 0 0 4\n"
    text = "1\nslab\nH 0 0 0\n" + vectors + content(1)

    first, second = read_raw_frames(io.StringIO(text), wanted={"energy"})

    assert first.cell.tolist() == np.diag([4.0, 4, 4]).tolist()
    assert first.pbc.all()
    assert (second.index, second.line_number) == (1, 7)
