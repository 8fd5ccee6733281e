"""MPtrj's JSON gives the frames of extended XYZ: uncorrected, stress turned, by mp_id."""

import copy
import json

import ase.io
import numpy as np
import pytest
from made_files import VASP_KBAR_PER_EV_A3, by_material, mptrj_json, write_json
from made_stores import SHARED_DATA

from mace_train.data.frame_reader import LabelKeys, read_frames
from mace_train.data.frame_source import BrokenFileError, FrameFile, Span
from mace_train.data.mptrj_json import MptrjJsonFormat, is_mptrj_json
from mace_train.data.plain_frame import RawFrame

REAL = SHARED_DATA / "mptrj_random_dev.extxyz"
GENUINE = SHARED_DATA / "mptrj_genuine_mp-1028232.extxyz"

pytestmark = pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/data")


@pytest.fixture(scope="module")
def structures():
    """Eight frames of one material, and forty of others."""
    return by_material([*ase.io.read(GENUINE, ":"), *ase.io.read(REAL, ":40")])


@pytest.fixture(scope="module")
def materials(structures):
    return mptrj_json(structures)


def read(path, span=None):
    file = FrameFile(path, "mptrj_json")
    return list(MptrjJsonFormat().read(file, span or Span(), wanted=()))


def scan(path, stride=1):
    return MptrjJsonFormat().scan(FrameFile(path, "mptrj_json"), stride=stride)


@pytest.mark.parametrize("name", ["m.json", "m.json.gz"])
def test_frames_are_those_of_extended_xyz(tmp_path, structures, materials, name):
    path = write_json(tmp_path / name, materials)
    ase.io.write(tmp_path / "m.extxyz", structures)
    assert is_mptrj_json(path)

    found = list(read_frames(FrameFile(path, "mptrj_json"), keys=LabelKeys()))

    expected = list(read_frames(tmp_path / "m.extxyz", keys=LabelKeys()))
    assert len(found) == len(expected) == 48
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one.atomic_numbers, other.atomic_numbers)
        np.testing.assert_array_equal(one.positions, other.positions)
        np.testing.assert_array_equal(one.forces, other.forces)
        np.testing.assert_array_equal(one.cell, other.cell)
        np.testing.assert_allclose(one.stress, other.stress, rtol=1e-12, atol=1e-12)
        assert (one.energy, one.groups, one.index) == (
            other.energy,
            other.groups,
            other.index,
        )


def test_the_stress_is_turned_from_vasps_kbar(tmp_path, materials):
    path = write_json(tmp_path / "m.json", materials)
    in_kbar = next(iter(next(iter(materials.values())).values()))["stress"]

    raw = read(path)[0]

    expected = np.array(in_kbar) / VASP_KBAR_PER_EV_A3
    np.testing.assert_allclose(raw.values["stress"], expected, rtol=1e-8)
    assert np.sign(raw.values["stress"][2][2]) == -np.sign(in_kbar[2][2])


def test_energies_are_uncorrected_and_the_corrected_ones_are_there(tmp_path, materials):
    raw = read(write_json(tmp_path / "m.json", materials))[0]

    assert raw.values["corrected_total_energy"] == raw.values["energy"] - 1.5
    assert {"task_id", "calc_id", "ionic_step", "mp_id", "forces"} <= set(raw.names)
    assert "uncorrected_total_energy" not in raw.names


@pytest.mark.parametrize("stride", [1, 8, 10, 1000])
def test_spans_between_marks_make_up_the_whole(tmp_path, materials, stride):
    path = write_json(tmp_path / "m.json", materials)
    whole = read(path)

    contents = scan(path, stride)

    assert contents.num_frames == len(whole) == 48
    marks = contents.marks
    parts = [read(path, Span(*pair)) for pair in zip(marks, [*marks[1:], None])]
    assert all(len(part) <= max(stride, 8) for part in parts)  # a material is not cut
    found = [raw for part in parts for raw in part]
    assert [raw.index for raw in found] == list(range(48))
    for one, other in zip(found, whole):
        np.testing.assert_array_equal(one.positions, other.positions)
        assert one.values["mp_id"] == other.values["mp_id"]


def test_labels_that_are_null_are_absent(tmp_path, materials):
    changed = copy.deepcopy(materials)
    frame = next(iter(next(iter(changed.values())).values()))
    frame |= {"stress": None, "uncorrected_total_energy": None, "magmom": None}

    raw = read(write_json(tmp_path / "m.json", changed))[0]

    assert "stress" not in raw.values
    assert "energy" not in raw.values
    assert set(raw.columns) == {"forces"}


def test_a_frame_without_sense_costs_no_other(tmp_path, materials):
    changed = copy.deepcopy(materials)
    names = list(changed["mp-1028232"])
    del changed["mp-1028232"][names[1]]["structure"]
    changed["mp-1028232"][names[2]]["structure"]["sites"][0]["species"][0]["occu"] = 0.5

    found = read(write_json(tmp_path / "m.json", changed))

    bad = [raw for raw in found if not isinstance(raw, RawFrame)]
    assert [index for index, _ in bad] == [1, 2]
    assert "KeyError: 'structure'" in str(bad[0][1])
    assert "have sites that are not one atom each" in str(bad[1][1])
    assert len(found) == 48


def test_damaged_json_costs_only_its_material(tmp_path, materials):
    changed = copy.deepcopy(materials)
    second = list(changed)[1]
    for frame in changed[second].values():
        frame["bandgap"] = float("nan")  # which is no JSON
    path = write_json(tmp_path / "m.json", changed)

    found = read(path)

    bad = [raw[0] for raw in found if not isinstance(raw, RawFrame)]
    assert bad == [8]
    assert "NaN and Infinity are no JSON" in str(found[8][1])
    assert [raw.index for raw in found if isinstance(raw, RawFrame)] == [
        *range(8),
        *range(9, 48),
    ]


def test_a_file_cut_off_gives_its_whole_materials(tmp_path, materials):
    path = write_json(tmp_path / "m.json", materials)
    path.write_bytes(path.read_bytes()[:-20])
    frames = MptrjJsonFormat().read(FrameFile(path, "mptrj_json"), Span(), wanted=())

    assert [next(frames).index for _ in range(47)] == list(range(47))
    with pytest.raises(BrokenFileError, match="cut off by the end of the file"):
        next(frames)
    assert scan(path).num_frames == 47


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"1": {"cell": {"x": 1}}}', "x"])
def test_other_json_is_told_apart(tmp_path, text):
    (tmp_path / "o.json").write_text(text)

    assert not is_mptrj_json(tmp_path / "o.json")


def test_json_written_with_line_breaks_is_read(tmp_path, materials):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(materials, indent=1))

    marks = scan(path, 1).marks

    assert len(read(path, Span(marks[3], marks[6]))) == marks[6].frame - marks[3].frame


def test_damage_at_the_end_of_a_span_costs_no_more(tmp_path, materials):
    changed = copy.deepcopy(materials)
    names = list(changed)
    for frame in changed[names[1]].values():
        frame["bandgap"] = float("nan")
    path = write_json(tmp_path / "m.json", changed)
    marks = scan(path).marks

    found = read(path, Span(marks[0], marks[2]))

    assert [raw.index for raw in found[:8]] == list(range(8))
    assert [raw[0] for raw in found[8:]] == [8]
