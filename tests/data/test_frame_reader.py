"""From the text of a file to checked frames, and one message for all that is wrong."""

import lzma
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from mace_train.data.census import Census
from mace_train.data.extxyz import ExtxyzFormat
from mace_train.data.frame_reader import LabelKeys, read_frames
from mace_train.data.frame_source import FrameFile, Span

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
KEYS = LabelKeys()


def crystal(seed, **info):
    """A crystal with all labels, where ASE keeps them."""
    generator = np.random.default_rng(seed)
    fractions = np.array([[0, 0, 0], [0.5, 0.5, 0.4]])
    atoms = Atoms("LiF", cell=np.diag([4.0, 5.0, 6.0]), pbc=True)
    atoms.set_scaled_positions(fractions + 0.01 * generator.normal(size=(2, 3)))
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=-9.5 + 1e-4 * seed,
        forces=generator.normal(size=(2, 3)),
        stress=0.01 * generator.normal(size=6),
    )
    atoms.info.update(info)
    return atoms


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "crystals.extxyz"
    write(path, [crystal(seed, mp_id=f"mp-{seed // 2}") for seed in range(6)])
    return path


def test_a_frame_carries_what_ase_wrote(path):
    atoms = crystal(3)

    frame = list(read_frames(path, keys=KEYS))[3]

    assert frame.atomic_numbers.tolist() == [3, 9]
    np.testing.assert_allclose(frame.positions, atoms.positions, atol=1e-8)
    np.testing.assert_array_equal(frame.cell, atoms.cell.array)
    assert frame.pbc.all()
    assert frame.energy == atoms.get_potential_energy()
    np.testing.assert_allclose(frame.forces, atoms.get_forces(), atol=1e-8)
    np.testing.assert_array_equal(frame.stress, atoms.get_stress(voigt=False))
    assert (frame.energy_weight, frame.forces_weight, frame.stress_weight) == (1, 1, 1)
    assert (frame.groups, frame.config_type) == ({"mp_id": "mp-1"}, None)
    assert (frame.source, frame.index) == (str(path), 3)


def test_labels_under_other_names_are_read_from_info_and_arrays(tmp_path):
    atoms = crystal(0)
    atoms.info["REF_energy"] = atoms.get_potential_energy()
    atoms.info["REF_stress"] = atoms.get_stress(voigt=False)
    atoms.arrays["REF_forces"] = atoms.get_forces()
    atoms.calc = None
    write(tmp_path / "a.xyz", atoms, format="extxyz")

    (frame,) = read_frames(tmp_path / "a.xyz", keys=KEYS)

    assert frame.energy == -9.5
    assert frame.forces is not None
    np.testing.assert_allclose(frame.stress, frame.stress.T)
    np.testing.assert_allclose(frame.stress, crystal(0).get_stress(voigt=False))


def test_one_odd_frame_gives_the_same_as_a_plain_one(tmp_path):
    plain, odd = crystal(0), crystal(0, note={"nested": ["json"]}, mask=[True, False])
    odd.arrays["move"] = np.array([True, False])
    write(tmp_path / "a.xyz", [plain, odd], format="extxyz")

    first, second = read_frames(tmp_path / "a.xyz", keys=KEYS)

    for name in ("positions", "cell", "pbc", "forces", "stress"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.energy == second.energy


def span_of(path, start, stop):
    """The frames from one place to another."""
    marks = ExtxyzFormat().scan(FrameFile(path), stride=1).marks
    return Span(marks[start], None if stop is None else marks[stop])


@pytest.mark.parametrize(("start", "stop"), [(0, 2), (2, 5), (4, None)])
def test_a_part_of_a_file_keeps_its_places(path, start, stop):
    census, span = Census(), span_of(path, start, stop)

    frames = list(read_frames(path, keys=KEYS, span=span, census=census))

    assert [frame.index for frame in frames] == list(range(6))[start:stop]
    assert census.num_frames == len(frames)


def test_a_part_is_not_blamed_for_what_comes_after_it(path):
    path.write_text(path.read_text() + "garbage\n")
    census = Census()

    span = span_of(path, 0, 5)
    assert len(list(read_frames(path, keys=KEYS, span=span, census=census))) == 5
    assert census.problems.count == 0


def test_groups_have_known_keys_and_the_one_asked_for(tmp_path):
    write(tmp_path / "a.xyz", crystal(0, material_id=12, run="r 1", other="x"))

    (auto,) = read_frames(tmp_path / "a.xyz", keys=KEYS)
    (asked,) = read_frames(tmp_path / "a.xyz", keys=KEYS, group_key="run")

    assert auto.groups == {"material_id": "12"}
    assert asked.groups == {"material_id": "12", "run": "r 1"}


def test_lengths_in_other_units_scale_positions_and_cell(path):
    (first, *_) = read_frames(path, keys=KEYS)

    (other, *_) = read_frames(path, keys=LabelKeys(length_unit="nm"))

    np.testing.assert_allclose(other.positions, 10 * first.positions)
    np.testing.assert_allclose(other.cell, 10 * first.cell)
    np.testing.assert_allclose(other.forces, first.forces / 10)
    np.testing.assert_allclose(other.stress, first.stress / 1000)


def test_isolated_atoms_are_marked(tmp_path):
    marked = Atoms("H", cell=np.eye(3) * 5, pbc=True, info={"config_type": "isolated_atom"})
    write(tmp_path / "a.xyz", [marked, Atoms("O"), crystal(0)])

    frames = list(read_frames(tmp_path / "a.xyz", keys=KEYS))

    assert [frame.is_isolated_atom for frame in frames] == [True, True, False]
    assert frames[0].config_type == "isolated_atom"


def test_frames_beyond_the_largest_force_are_left_out(path):
    census = Census()

    frames = list(read_frames(path, keys=KEYS, max_force=2.0, census=census))

    largest = [np.linalg.norm(crystal(i).get_forces(), axis=1).max() for i in range(6)]
    assert [frame.index for frame in frames] == [i for i in range(6) if largest[i] <= 2]
    assert 0 < census.left_out["max_force"] == 6 - len(frames)


def test_everything_wrong_is_told_at_the_end_with_its_place(path):
    text = path.read_text().splitlines(keepends=True)
    text[3] = text[3].replace("F ", "Li", 1)  # the same place as before: still sound
    text[5] = text[5].replace("energy=-9.4999", "energy=nan", 1)
    text[10] = "F 0 0 0 0 0\n"
    path.write_text("".join(text) + "3\nno more\n")
    frames = []

    with pytest.raises(ValueError, match="3 problems with the data") as caught:
        frames.extend(read_frames(path, keys=KEYS))

    assert [frame.index for frame in frames] == [0, 3, 4, 5]
    message = str(caught.value)
    assert (
        f"1 of 7 frames have an energy that is NaN or infinite (first: {path}, " in message
    )
    assert "frame 1, LiF: energy is nan" in message
    assert "frame 2: line 11 is 'F 0 0 0 0 0'" in message
    assert "frame 6: line 25 announces 3 atoms, 0 follow" in message


def test_a_damaged_archive_is_told(path):
    packed = path.with_suffix(".extxyz.xz")
    packed.write_bytes(lzma.compress(path.read_bytes())[:-30])

    with pytest.raises(ValueError, match=r"cannot be unpacked.*copy it again"):
        list(read_frames(packed, keys=KEYS))


def test_a_census_given_by_the_caller_collects_problems_without_raising(path):
    path.write_text(path.read_text() + "garbage\n")
    census = Census()

    assert len(list(read_frames(path, keys=KEYS, census=census))) == 6
    assert census.problems.count == 1


def test_reading_takes_no_more_memory_for_a_longer_file(path):
    def peak(copies):
        longer = path.with_name(f"{copies}.extxyz")
        longer.write_text(path.read_text() * copies)
        tracemalloc.start()
        assert sum(1 for _ in read_frames(longer, keys=KEYS)) == 6 * copies
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    short = peak(3)

    assert peak(30) < 1.2 * short + 50_000


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="needs ../shared/data")
def test_a_member_of_the_published_archive_is_read_with_uncorrected_energies():
    frames = list(read_frames(SHARED_DATA / "mptrj_genuine_mp-1028232.extxyz", keys=KEYS))

    assert frames[0].energy == -30.69383528
    assert {frame.groups["mp_id"] for frame in frames} == {"mp-1028232"}
    assert all(frame.stress_weight == 1 for frame in frames)
