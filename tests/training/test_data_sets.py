"""Sets with weights and heads: how they are read and checked."""

import pytest

from mace_train.data.labels import LabelKeys
from mace_train.data.mixed_store import SetRole
from mace_train.training.data_sets import (
    DataSet,
    e0s_by_head,
    read_sets,
    require_known_heads,
)


def test_plain_paths_are_one_set():
    for spec in ("a.xyz", ["a.xyz", "b.xyz"]):
        (one,) = read_sets("data.train", spec)
        assert one.path == spec
        assert one.role(["Default"]) == SetRole()


def test_a_mapping_makes_every_item_a_set():
    spec = [{"path": "x/a.xyz", "head": "mp", "weight": 5.0, "stress_weight": 0.5}, "b.xyz"]
    first, second = read_sets("data.train", spec)
    assert (first.name, second.name) == ("a.xyz", "b.xyz")
    assert list(e0s_by_head([first, second], "mp0")) == ["mp", "Default"]
    assert first.role(("mp", "Default")) == SetRole(0, 5.0, 5.0, 2.5)
    assert second.role(("mp", "Default")) == SetRole(1)


def test_sets_are_named_by_their_files_or_as_the_user_likes():
    spec = [
        {"path": ["p/a.xyz", "p/b.xyz"]},
        {"path": "x/c.xyz"},
        {"path": "y/c.xyz"},
        {"path": "d.xyz", "name": "mine"},
    ]
    names = [one.name for one in read_sets("data.train", spec)]
    assert names == ["a.xyz and 1 more", "x/c.xyz", "y/c.xyz", "mine"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ([], "data.train names no data"),
        ([{"path": "a", "name": "x"}, {"path": "b", "name": "x"}], "several sets named x"),
        ([{"path": "a"}, {"path": "a"}], "several sets named a: name each set once"),
        ([{"path": "a", "weight": 0.0}], "weight=0.0 of the set a is out of range"),
        ([{"path": "a", "forces_weight": -1.0}], "forces_weight=-1.0 of the set a"),
        ([{"path": "a", "weight": float("inf")}], "weight=inf of the set a"),
        (
            [
                {
                    "path": "a",
                    "energy_weight": 0.0,
                    "forces_weight": 0.0,
                    "stress_weight": 0.0,
                }
            ],
            "set a are all 0: its frames would have no effect on the loss; give weights",
        ),
    ],
)
def test_sets_that_cannot_be_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        read_sets("data.train", spec)


def test_a_head_has_the_e0s_that_any_of_its_sets_names():
    sets = [
        DataSet("a", "a", head="mp", e0s="mp0"),
        DataSet("b", "b", head="mp"),
        DataSet("c", "c"),
    ]
    assert e0s_by_head(sets, "least_squares") == {"mp": "mp0", "Default": "least_squares"}
    with pytest.raises(ValueError, match="the head mp have e0s=mp0 and e0s=isolated_atoms"):
        e0s_by_head([*sets, DataSet("d", "d", "mp", "isolated_atoms")], "least_squares")


def test_validation_sets_belong_to_heads_that_are_trained():
    heads = ("mp", "mine")
    require_known_heads("data.valid", [DataSet("v", "v", head="mine")], heads)
    with pytest.raises(ValueError, match=r"choose one of mp, mine .* head: mp\}\]'"):
        require_known_heads("data.valid", [DataSet("v", "v")], heads)
    with pytest.raises(ValueError, match="has e0s=mp0, but E0s belong to heads"):
        require_known_heads("data.valid", [DataSet("v", "v", "mp", "mp0")], heads)


def test_the_only_head_need_not_be_named_again():
    require_known_heads("data.valid", [DataSet("v", "v")], ("mine",))
    assert DataSet("v", "v").role(("mine",)) == SetRole(0)


def test_a_set_has_the_labels_of_all_data_unless_it_names_its_own():
    default = LabelKeys(energy="E", forces="none", energy_unit="hartree")
    assert DataSet("a", "a").label_keys(default) == default
    own = DataSet(
        "a",
        "a",
        energy_key="auto",
        forces_key="F",
        units={"energy": "kcal/mol", "length": "bohr"},
    )
    assert own.label_keys(default) == LabelKeys(
        forces="F", energy_unit="kcal/mol", length_unit="bohr"
    )


def test_a_set_with_a_stress_or_virials_takes_neither_from_all_data():
    of_virials, of_stress = LabelKeys(virials="W"), LabelKeys(stress="S")
    assert DataSet("a", "a", energy_key="E").label_keys(of_virials).virials == "W"
    assert DataSet("a", "a", virials_key="V").label_keys(of_stress) == LabelKeys(
        virials="V"
    )
    assert DataSet("a", "a", stress_key="none").label_keys(of_virials) == LabelKeys(
        stress="none"
    )
    with pytest.raises(ValueError, match="the stress is made from one of them"):
        DataSet("a", "a", stress_key="S", virials_key="V").label_keys(LabelKeys())


def test_all_frames_of_a_set_may_be_held_out_unless_it_says_otherwise():
    first, second = read_sets("data.train", ["a", {"path": "b", "hold_out": False}])
    assert (first.hold_out, second.hold_out) == (True, False)
