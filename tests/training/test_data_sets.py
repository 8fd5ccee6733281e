"""Sets with weights and heads: how they are read, checked, opened and split."""

from dataclasses import replace

import numpy as np
import pytest
from small_crystals import datamodule_of, isolated_atom, make_frame, store_of, write_frames

from mace_train.data.mixed_store import MixedStore, SetRole
from mace_train.data.splits import make_split
from mace_train.training.data_sets import (
    DataSet,
    e0s_by_head,
    open_sets,
    read_sets,
    require_known_heads,
    split_sets,
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


@pytest.fixture
def open_files(tmp_path):
    write_frames(tmp_path / "a.xyz", [make_frame(i) for i in range(10)])
    write_frames(tmp_path / "b.xyz", [make_frame(20 + i) for i in range(5)])
    atoms = [isolated_atom("Li", -1.0), isolated_atom("O", -2.0)]
    write_frames(tmp_path / "atoms.xyz", atoms)
    sources = datamodule_of(tmp_path, [make_frame(0)]).sources

    def open_one(path):
        alone = replace(sources, train=(DataSet(str(tmp_path / path), path),))
        return alone.open("train", r_max=4.0)

    return open_one


def test_one_set_without_a_role_is_the_store_of_its_files(open_files):
    plain = open_sets([DataSet("a.xyz", "a")], heads=("Default",), open_files=open_files)
    assert not isinstance(plain, MixedStore)
    for one, heads in (
        (DataSet("a.xyz", "a", weight=2.0), ("Default",)),
        (DataSet("a.xyz", "a"), ("other", "Default")),
    ):
        assert isinstance(open_sets([one], heads=heads, open_files=open_files), MixedStore)


def test_a_file_belongs_to_one_set(open_files):
    sets = [DataSet("a.xyz", "one"), DataSet("b.xyz", "two"), DataSet("a.xyz", "three")]
    with pytest.raises(ValueError, match=r"a.xyz is in the sets one and three"):
        open_sets(sets, heads=("Default",), open_files=open_files)


def test_a_file_of_another_name_is_the_same_file(open_files, tmp_path):
    (tmp_path / "copy.xyz").write_bytes((tmp_path / "a.xyz").read_bytes())
    sets = [DataSet("a.xyz", "one"), DataSet("copy.xyz", "two")]
    with pytest.raises(ValueError, match=r"copy.xyz is in the sets one and two"):
        open_sets(sets, heads=("Default",), open_files=open_files)


def test_each_set_is_split_by_itself(open_files):
    sets = [DataSet("a.xyz", "a"), DataSet("atoms.xyz", "atoms"), DataSet("b.xyz", "b")]
    store = open_sets(sets, heads=("Default",), open_files=open_files)

    def split_one(part):
        return make_split(part, valid_fraction=0.2, seed=3)

    split = split_sets(store, split_one)
    assert store.set_of(split.valid).tolist() == [0, 0, 2]
    assert np.array_equal(split.valid[:2], split_one(store.parts[0]).valid)
    assert split.valid[2] == 12 + split_one(store.parts[2]).valid[0]
    every = np.concatenate([split.train, split.valid])
    assert sorted(every) == list(range(17))
    assert {10, 11} <= set(split.train.tolist())  # isolated atoms give E0s
    assert (np.diff(split.train) > 0).all()


def test_a_set_that_cannot_be_split_is_named(open_files, tmp_path):
    lone = store_of(tmp_path, [make_frame(70)], name="lone.xyz")
    store = MixedStore(
        [open_files("a.xyz"), lone],
        names=["a", "lone"],
        roles=[SetRole(), SetRole()],
        heads=["Default"],
    )
    with pytest.raises(ValueError, match=r"the set lone of data\.train: 1 frames"):
        split_sets(store, lambda part: make_split(part, valid_fraction=0.2))
