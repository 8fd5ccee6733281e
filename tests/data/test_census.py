"""Counts over all frames, and the message when something is wrong with them."""

import json

import numpy as np
import pytest

from mace_train.data.census import STOP_AFTER, Census
from mace_train.data.frame import Frame
from mace_train.data.label_reader import told_twice
from mace_train.data.labels import LabelKeys
from mace_train.data.problems import FrameError, Place, TooManyRefusedError

NAN = FrameError("have a NaN", cure="Remove them.", detail="energy is nan")


def frame(**labels):
    weights = {f"{name}_weight": 1.0 for name in labels if not name.endswith("_weight")}
    return Frame(
        atomic_numbers=np.array([3, 9]),
        positions=np.zeros((2, 3)),
        cell=np.eye(3) * 4,
        pbc=np.ones(3, bool),
        **{**weights, **labels},
    )


def census_of(*frames, names=("energy",), used=(), **options):
    census = Census(**options)
    for one in frames:
        census.names.update(names)
        census.add(one)
    for name, key in used:
        census.keys.used[name][key] += 1
    return census


FULL = frame(energy=-1.0, forces=np.zeros((2, 3)), stress=np.zeros((3, 3)))


def test_summary_says_which_labels_how_many_frames_have():
    census = census_of(FULL, frame(energy=-1.0), frame(energy=-1.0, energy_weight=0.0))

    assert census.summary() == "energy 2/3, forces 1/3, stress 1/3"


def test_summary_says_what_is_special():
    census = census_of(FULL)
    census.num_isolated_atoms = 2
    census.keys.passed_over = 3
    census.left_out["max_force"] = 4

    assert census.summary() == (
        "energy 1/1, forces 1/1, stress 1/1, isolated atoms 2, "
        "stress of 3 not fully periodic passed over, left out by max_force: 4"
    )


def test_parts_add_up_to_the_whole():
    first = census_of(FULL, used=[("energy", "energy")])
    second = census_of(FULL, frame(energy=-1.0))
    second.left_out["max_force"] = 2
    second.refuse(NAN, place=Place("b.xyz", 9))

    first.merge(second)

    assert first.summary() == (
        "energy 3/3, forces 2/3, stress 2/3, left out by max_force: 2, refused 1"
    )
    assert (first.num_read, first.num_atoms) == (6, 6)
    assert first.names == {"energy": 3}
    assert first.problems.count == 1


def test_a_census_survives_json():
    census = census_of(FULL, used=[("energy", "energy")], names=("energy", "mp_id"))
    census.refuse(NAN, place=Place("b.xyz", 9))
    census.left_out["max_force"] = 2

    back = Census.from_dict(json.loads(json.dumps(census.to_dict())))

    assert back.to_dict() == census.to_dict()
    assert back.summary() == census.summary()


def test_sound_data_raise_nothing():
    census_of(FULL, used=[("energy", "energy"), ("forces", "forces")]).raise_problems()
    Census().raise_problems()


def test_one_problem_is_one_sentence():
    census = census_of(FULL)
    census.refuse(NAN, place=Place("b.xyz", 9, "LiF"))

    with pytest.raises(
        ValueError, match=r"^1 of 2 frames have a NaN \(first: b\.xyz, frame 9"
    ):
        census.raise_problems()


def test_several_problems_are_a_list():
    census = census_of(FULL, used=[("energy", "energy"), ("energy", "REF_energy")])
    census.refuse(NAN, place=Place("b.xyz", 9, "LiF"))

    with pytest.raises(
        ValueError, match=r"2 problems with the data:\n- 1 of 2.*\n- the energy"
    ):
        census.raise_problems()


def test_a_named_key_that_is_nowhere_shows_those_that_are():
    census = Census()
    census.expect(LabelKeys(energy="E_dft", virials="W"), max_force=None)
    for names in [("energy", "U0"), ("energy",), ("W",)]:
        census.names.update(names)
        census.add(FULL)

    found = r"Names found: energy \(2\), U0 \(1\), W \(1\)"
    with pytest.raises(ValueError, match=rf"energy_key=E_dft is in none of 3.*{found}"):
        census.raise_problems()


def test_one_label_under_two_names_asks_for_a_choice():
    used = [("energy", "REF_energy"), ("energy", "energy"), ("energy", "energy")]

    with pytest.raises(
        ValueError,
        match=r"energy in 2 frames, REF_energy in 1 frames.*data\.energy_key=energy",
    ):
        census_of(FULL, used=used).raise_problems()


def test_labels_told_twice_are_counted():
    census = census_of(FULL, FULL, names=("energy", "REF_energy"))
    census.names["dft_energy"] = 1
    twice = FrameError(f"{told_twice('energy')}, with different values", cure="Choose.")
    census.refuse(twice, place=Place("b.xyz", 2))

    with pytest.raises(ValueError, match=r"1 of 3 frames carry more than one") as caught:
        census.raise_problems()
    counts = "of 3 frames read, energy is in 2, REF_energy is in 2, dft_energy is in 1"
    assert str(caught.value).endswith(f"Choose.\n  ({counts})")


def test_names_that_look_like_a_label_are_offered_with_the_command():
    census = Census()
    census.expect(LabelKeys(energy="E_dft"), max_force=None)
    for names in [("U0", "qm_energy"), ("U0",)]:
        census.names.update(names)
        census.keys.offer(("energy", name) for name in names)
        census.add(FULL)
    census.keys.offer([("virials", "W_virial")])

    assert census.offers_for("energy") == [
        "U0 is in 2 frames: mace-train ... data.energy_key=U0",
        "qm_energy is in 1 frames: mace-train ... data.energy_key=qm_energy",
    ]
    assert census.offers_for("stress") == [
        "W_virial is in 1 frames: mace-train ... data.virials_key=W_virial"
    ]
    assert census.offers_for("forces") == []
    offers = r"To take one of these: U0 is in 2 frames: mace-train ... data.energy_key=U0"
    with pytest.raises(ValueError, match=rf"E_dft is in none of 2 frames.*{offers}"):
        census.raise_problems()


def test_very_many_refused_frames_end_the_reading():
    census = Census()
    for index in range(STOP_AFTER - 1):
        census.refuse(NAN, place=Place("b.xyz", index))

    message = f"{STOP_AFTER} of {STOP_AFTER} frames have a NaN"
    with pytest.raises(TooManyRefusedError, match=message) as caught:
        census.refuse(NAN, place=Place("b.xyz", STOP_AFTER - 1))
    assert caught.value.problems.count == STOP_AFTER


def test_refused_frames_among_more_sound_ones_do_not_end_the_reading():
    census = Census(num_frames=STOP_AFTER + 1)

    for index in range(STOP_AFTER + 1):
        census.refuse(NAN, place=Place("b.xyz", index))

    assert census.problems.count == STOP_AFTER + 1


def test_names_are_shown_the_most_frequent_first():
    census = census_of(FULL, names=("energy", "U0"))
    census.merge(census_of(FULL, names=("U0",)))

    assert census.names_found() == "U0 (2), energy (1)"
    assert Census().names_found() == "none"


def test_many_names_are_cut_short():
    census = census_of(FULL, names=tuple(f"key{i}" for i in range(100)))

    assert census.names_found().endswith("and 70 more")
