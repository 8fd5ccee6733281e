import json

import numpy as np
import pytest

from mace_train.training.prediction_parts import PartFolder
from mace_train.training.predictions import FrameFailure, FramePrediction

IDENTITY = {"checkpoint": ["a.model (0123)"], "dtype": "float32", "frames": 3}


def outcomes():
    random = np.random.default_rng(0)
    stress = random.normal(size=(3, 3))
    return [
        FramePrediction(1.5, random.normal(size=(2, 3)), stress),
        FrameFailure("frame 1 of my.xyz: is not finite"),
        FramePrediction(-2.25, random.normal(size=(1, 3)), None),
    ]


@pytest.fixture
def folder(tmp_path):
    folder = PartFolder(tmp_path / "out" / "parts")
    folder.begin(IDENTITY, resume=True)
    return folder


def test_a_part_comes_back_bit_for_bit(folder):
    folder.write(4, outcomes())
    first, failed, last = folder.read(4)
    expected = outcomes()
    assert first.energy == 1.5
    assert np.array_equal(first.forces, expected[0].forces)
    assert np.array_equal(first.stress, expected[0].stress)
    assert failed == expected[1]
    assert (last.energy, last.stress, last.node_energies) == (-2.25, None, None)
    assert np.array_equal(last.forces, expected[2].forces)


def test_what_is_predicted_besides_comes_back_too(folder):
    forces = np.ones((2, 3))
    spread = FramePrediction(
        1.0,
        forces,
        np.eye(3),
        node_energies=np.array([0.25, 0.75]),
        energy_std=0.5,
        forces_std=2 * forces,
        stress_std=3 * np.eye(3),
    )
    folder.write(0, [spread, FramePrediction(1.0, np.ones((1, 3)), None)])
    read, plain = folder.read(0)
    assert read.node_energies.tolist() == [0.25, 0.75]
    assert read.energy_std == 0.5
    assert np.array_equal(read.forces_std, 2 * forces)
    assert np.array_equal(read.stress_std, 3 * np.eye(3))
    assert plain.node_energies is None
    assert plain.energy_std is None


def test_finished_parts_are_known_and_unfinished_ones_removed(folder):
    folder.write(2, outcomes())
    leftover = folder.path / "part-000003.npz.partial"
    leftover.write_bytes(b"half")
    again = PartFolder(folder.path)
    again.begin(IDENTITY, resume=True)
    assert [number for number in range(5) if again.is_finished(number)] == [2]
    assert again.num_finished == 1
    assert not leftover.exists()


def test_notes_are_kept_until_the_evaluation_begins_anew(folder):
    folder.note(max_edges=123)
    again = PartFolder(folder.path)
    again.begin(IDENTITY, resume=True)
    assert again.notes == {"max_edges": 123}
    again.begin(IDENTITY, resume=False)
    assert again.notes == {}


def test_another_evaluation_is_refused_with_what_differs(folder):
    folder.write(0, outcomes())
    changed = IDENTITY | {"checkpoint": ["a.model (4567)"], "head": "scan"}
    with pytest.raises(ValueError, match="another evaluation that was stopped") as error:
        PartFolder(folder.path).begin(changed, resume=True)
    message = str(error.value)
    assert "checkpoint was ['a.model (0123)'] and is now ['a.model (4567)']" in message
    assert "head was None and is now 'scan'" in message
    assert "dtype" not in message
    assert "resume=never" in message
    assert "output=" in message
    assert folder.is_finished(0)


def test_resume_never_begins_anew(folder):
    folder.write(0, outcomes())
    folder.begin(IDENTITY | {"dtype": "float64"}, resume=False)
    assert folder.num_finished == 0


@pytest.mark.parametrize("text", ["{", "[]", '{"identity": 3}'])
def test_parts_of_a_plan_that_nobody_can_read_stay_until_that_is_asked_for(folder, text):
    folder.write(0, outcomes())
    (folder.path / "plan.json").write_text(text)
    with pytest.raises(ValueError, match=r"plan\.json cannot be read.*resume=never"):
        folder.begin(IDENTITY, resume=True)
    assert folder.is_finished(0)
    folder.begin(IDENTITY, resume=False)
    assert folder.num_finished == 0


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("plan", [None, "{", '{"of": "mine"}'])
def test_the_folder_of_somebody_else_is_left_alone(tmp_path, resume, plan):
    theirs = tmp_path / "parts" / "gearbox.step"
    theirs.parent.mkdir()
    theirs.write_text("precious")
    if plan is not None:
        (tmp_path / "parts" / "plan.json").write_text(plan)
    before = {path: path.read_text() for path in theirs.parent.iterdir()}
    with pytest.raises(ValueError, match=r"parts is not of an evaluation.*another output="):
        PartFolder(tmp_path / "parts").begin(IDENTITY, resume=resume)
    assert {path: path.read_text() for path in theirs.parent.iterdir()} == before


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "parts").write_text("precious")
    with pytest.raises(ValueError, match="is not of an evaluation"):
        PartFolder(tmp_path / "parts").begin(IDENTITY, resume=False)


def test_parts_that_a_broken_removal_left_are_made_again(folder):
    folder.write(0, outcomes())
    (folder.path / "plan.json").unlink()
    folder.begin(IDENTITY, resume=True)
    assert folder.num_finished == 0


def test_parts_of_another_format_are_refused(folder):
    plan = json.loads((folder.path / "plan.json").read_text())
    (folder.path / "plan.json").write_text(json.dumps(plan | {"format": 0}))
    with pytest.raises(ValueError, match="format was 0 and is now 1"):
        folder.begin(IDENTITY, resume=True)


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_part_is_refused_by_name(folder, damage):
    folder.write(0, outcomes())
    path = folder.path / "part-000000.npz"
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    else:
        content[200] ^= 255
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"part-000000\.npz cannot be read.*delete it"):
        folder.read(0)


def test_the_folder_goes_with_all_parts(folder):
    folder.write(0, outcomes())
    (folder.path / "part-000001.npz.4711.partial").write_bytes(b"half")
    folder.delete()
    assert not folder.path.exists()
    assert folder.notes == {}


def test_what_is_not_ours_outlives_the_parts(folder):
    folder.write(0, outcomes())
    (folder.path / "mine.txt").write_text("precious")
    folder.delete()
    assert [path.name for path in folder.path.iterdir()] == ["mine.txt"]
