"""Files are cut into frames, packed or not; broken ones say where they are broken."""

import gzip
import hashlib
import io
import lzma
import zipfile

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from mace_train.data import extxyz
from mace_train.data.extxyz import (
    ExtxyzFormat,
    iterate_text_frames,
    read_raw_frames,
    read_with_ase,
)
from mace_train.data.frame_source import BrokenFileError, FrameFile, Mark, Span
from mace_train.data.plain_frame import RawFrame, TextFrame

FRAME = '{n}\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 energy={e}\n'


def content(*sizes):
    """Frames with the given numbers of atoms and energies 0, 1, 2, ..."""
    return "".join(
        FRAME.format(n=n, e=e) + "".join(f"H 0 0 {atom}\n" for atom in range(n))
        for e, n in enumerate(sizes)
    )


def energies(source, span=None):
    """Place, line and energy of the frames of a file, or of an open text."""
    if isinstance(source, io.StringIO):
        raws = read_raw_frames(source, wanted={"energy"})
    else:
        file = FrameFile(source)
        raws = ExtxyzFormat().read(file, span or Span(), wanted={"energy"})
    return [(raw.index, raw.line_number, raw.values["energy"]) for raw in raws]


ALL = [(0, 1, 0), (1, 5, 1), (2, 8, 2)]


@pytest.mark.parametrize(("suffix", "opener"), [(".gz", gzip.open), (".xz", lzma.open)])
def test_packed_files_read_as_plain_ones(tmp_path, suffix, opener):
    path = tmp_path / f"frames.xyz{suffix}"
    with opener(path, "wt") as file:
        file.write(content(2, 1, 3))

    assert energies(path) == ALL
    found = ExtxyzFormat().scan(FrameFile(path), stride=1)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [mark.line for mark in found.marks] == [1, 5, 8]


@pytest.mark.parametrize("opener", [open, gzip.open])
def test_any_span_between_marks_can_be_read(tmp_path, opener):
    path = tmp_path / ("frames.xyz" if opener is open else "frames.xyz.gz")
    with opener(path, "wt") as file:
        file.write(content(2, 1, 3))
    marks = ExtxyzFormat().scan(FrameFile(path), stride=1).marks

    for start in range(3):
        for stop in range(start, 4):
            end = marks[stop] if stop < 3 else None
            assert energies(path, Span(marks[start], end)) == ALL[start:stop]


@pytest.mark.parametrize("small", [1, 1 << 22])
def test_large_files_are_scanned_as_small_ones(tmp_path, small, monkeypatch):
    monkeypatch.setattr(extxyz, "_SMALL", small)
    path = tmp_path / "frames.xyz"
    path.write_text(content(2, 1, 3))

    found = ExtxyzFormat().scan(FrameFile(path), stride=2)

    assert found.num_frames == 3
    assert found.marks == (Mark(), Mark(2, len(content(2, 1)), 8))
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_cannot_be_unpacked_is_told(tmp_path):
    path = tmp_path / "frames.xyz.gz"
    path.write_bytes(gzip.compress(content(2, 1, 3).encode())[:-12])

    with pytest.raises(BrokenFileError, match="The file is damaged: copy it again"):
        energies(path)


@pytest.mark.parametrize("ending", ["\n", "\n\n  \n", ""])
def test_blank_lines_between_and_after_frames_are_no_frames(ending):
    text = content(1) + "\n" + content(1).rstrip("\n") + ending

    assert len(energies(io.StringIO(text))) == 2


def test_windows_line_ends_are_line_ends(tmp_path):
    path = tmp_path / "frames.xyz"
    path.write_bytes(content(2, 1, 3).replace("\n", "\r\n").encode())

    assert energies(path) == ALL


def test_bytes_that_are_no_text_do_no_harm(tmp_path):
    path = tmp_path / "frames.xyz"
    path.write_bytes(content(1).replace("energy", "who=M\xfcller energy").encode("latin-1"))

    assert energies(path) == [(0, 1, 0)]


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


def test_a_damaged_member_of_an_archive_is_told_and_the_others_are_read(tmp_path):
    text = content(2, 1)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.xyz", text)
        archive.writestr("b.xyz", text)
    raw = (tmp_path / "a.zip").read_bytes()  # not compressed: the checksum alone is wrong
    (tmp_path / "a.zip").write_bytes(raw.replace(text.encode(), text.upper().encode(), 1))
    bad, good = (FrameFile(tmp_path / "a.zip", member=name) for name in ("a.xyz", "b.xyz"))

    assert ExtxyzFormat().scan(good, stride=1).num_frames == 2
    assert ExtxyzFormat().scan(bad, stride=1).num_frames == 0
    assert len(list(ExtxyzFormat().read(good, Span(), wanted=()))) == 2
    with pytest.raises(BrokenFileError, match="cannot be unpacked"):
        list(ExtxyzFormat().read(bad, Span(), wanted=()))
