"""The teacher's frames: sound, distorted as asked, gone on with; EMT stands for CHGNet."""

from importlib.util import find_spec

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from example_runs import EXAMPLES, needs, run


@pytest.fixture
def teacher(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import teacher

    return teacher


@pytest.fixture
def copper(teacher):
    return teacher.Lesson(bulk("Cu", cubic=True), 3, rattle=0.1, volume=0.05, strain=0.02)


def test_the_first_copy_is_the_structure_with_its_labels(teacher, copper):
    atoms = teacher.frame(copper, 0, np.random.default_rng(0), EMT())
    assert atoms.positions == pytest.approx(copper.atoms.positions)
    assert atoms.cell[:] == pytest.approx(copper.atoms.cell[:])
    copper.atoms.calc = EMT()
    assert atoms.get_potential_energy() == pytest.approx(
        copper.atoms.get_potential_energy()
    )
    assert atoms.info["label_source"] == "CHGNet-0.3.0"


def test_copies_are_distorted_within_what_is_asked(teacher, copper):
    volume = copper.atoms.get_volume()
    for seed in range(20):
        atoms = teacher.distorted(copper, np.random.default_rng(seed))
        # The shear of a strain changes the volume in second order only.
        assert abs(atoms.get_volume() / volume - 1) < 0.05 + 3 * 3 * 0.02
        moved = atoms.get_scaled_positions() - copper.atoms.get_scaled_positions()
        moved -= np.rint(moved)
        assert 0.001 < np.std(moved @ atoms.cell) < 0.2


def test_atoms_that_touch_and_forces_of_holes_are_not_sound(teacher):
    atoms = bulk("Cu", cubic=True)
    assert teacher.is_sound(teacher.labelled(atoms, EMT()))
    near = bulk("Cu", cubic=True)
    near.positions[1] = near.positions[0] + [1.0, 0, 0]
    assert not teacher.is_sound(teacher.labelled(near, EMT()))
    atoms.calc.results["forces"][0, 0] = 60.0
    assert not teacher.is_sound(atoms)


def test_a_structure_that_cannot_be_sound_is_one_line(teacher):
    near = bulk("Cu", cubic=True)
    near.positions[1] = near.positions[0] + [1.0, 0, 0]
    with pytest.raises(SystemExit, match="20 tries were not sound"):
        teacher.frame(teacher.Lesson(near, 1, 0.01), 0, np.random.default_rng(0), EMT())


def test_a_frame_that_was_cut_off_is_not_read(teacher, copper, tmp_path):
    texts = []
    for place in range(3):
        atoms = teacher.frame(copper, place, np.random.default_rng(place), EMT())
        atoms.info["recipe"] = "copper"
        texts.append(teacher.as_text(atoms))
    path = tmp_path / "f.part"
    path.write_text("".join(texts)[:-20])
    assert teacher.whole_frames(path, "copper") == texts[:2]
    with pytest.raises(SystemExit, match="made with other options"):
        teacher.whole_frames(path, "silver")


def test_lessons_are_made_once(teacher, copper, tmp_path):
    path, made = tmp_path / "starts.extxyz", []

    def make():
        made.append(1)
        return [copper]

    first = teacher.kept_lessons(path, make)
    again = teacher.kept_lessons(path, make)
    assert len(made) == 1
    for found in (*first, *again):
        assert (found.copies, found.rattle, found.volume, found.strain) == (
            3,
            0.1,
            0.05,
            0.02,
        )
        assert found.atoms.positions == pytest.approx(copper.atoms.positions)


@pytest.mark.slow
def test_a_teacher_that_is_absent_is_one_line(tmp_path):
    if find_spec("chgnet"):
        pytest.skip("CHGNet is installed here")
    out = run(tmp_path, "teacher_frames.py", "--of", "nacl", "--output", "f.extxyz")
    assert out.returncode == 1
    assert "pip install 'mace-train[examples]'" in out.stderr
    assert "Traceback" not in out.stderr


@pytest.mark.slow
def test_frames_of_the_teacher_go_on_with_the_same_frames(tmp_path):
    needs("chgnet")
    words = ["--of", "nacl", "--most", "4", "--output"]
    out = run(tmp_path, "teacher_frames.py", *words, "whole.extxyz")
    assert out.returncode == 0, out.stderr
    whole = (tmp_path / "whole.extxyz").read_text(encoding="utf-8")
    (tmp_path / "cut.part").write_text(whole[: len(whole) * 2 // 3], encoding="utf-8")
    out = run(tmp_path, "teacher_frames.py", *words, "cut.extxyz")
    assert out.returncode == 0, out.stderr
    for one, other in zip(
        ase.io.read(tmp_path / "whole.extxyz", ":"),
        ase.io.read(tmp_path / "cut.extxyz", ":"),
        strict=True,
    ):
        assert one.info["label_source"] == "CHGNet-0.3.0"
        assert one.positions == pytest.approx(other.positions, abs=1e-4)
        assert one.get_forces() == pytest.approx(other.get_forces(), abs=1e-2)
    out = run(tmp_path, "teacher_frames.py", *words, "whole.extxyz", "--seed", "1")
    assert out.returncode == 1
    assert "made with other options" in out.stderr
