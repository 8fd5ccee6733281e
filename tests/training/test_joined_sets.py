"""Several sets as one store: opened, each with labels of its own, and split one by one."""

from dataclasses import replace

import numpy as np
import pytest
from small_crystals import datamodule_of, isolated_atom, make_frame, store_of, write_frames

from mace_train.data.mixed_store import MixedStore, SetRole
from mace_train.data.splits import make_split
from mace_train.training.data_sets import DataSet
from mace_train.training.joined_sets import open_sets, split_sets, trained_places


@pytest.fixture
def open_one(tmp_path):
    write_frames(tmp_path / "a.xyz", [make_frame(i) for i in range(10)])
    write_frames(tmp_path / "b.xyz", [make_frame(20 + i) for i in range(5)])
    atoms = [isolated_atom("Li", -1.0), isolated_atom("O", -2.0)]
    write_frames(tmp_path / "atoms.xyz", atoms)
    sources = datamodule_of(tmp_path, [make_frame(0)]).sources

    def open_alone(one):
        alone = replace(sources, train=(replace(one, path=str(tmp_path / one.path)),))
        return alone.open("train", r_max=4.0)

    return open_alone


def test_one_set_without_a_role_is_the_store_of_its_files(open_one):
    plain = open_sets([DataSet("a.xyz", "a")], heads=("Default",), open_one=open_one)
    assert not isinstance(plain, MixedStore)
    for one, heads in (
        (DataSet("a.xyz", "a", weight=2.0), ("Default",)),
        (DataSet("a.xyz", "a"), ("other", "Default")),
    ):
        assert isinstance(open_sets([one], heads=heads, open_one=open_one), MixedStore)


def test_a_file_belongs_to_one_set(open_one):
    sets = [DataSet("a.xyz", "one"), DataSet("b.xyz", "two"), DataSet("a.xyz", "three")]
    with pytest.raises(ValueError, match=r"a.xyz is in the sets one and three"):
        open_sets(sets, heads=("Default",), open_one=open_one)


def test_a_file_of_another_name_is_the_same_file(open_one, tmp_path):
    (tmp_path / "copy.xyz").write_bytes((tmp_path / "a.xyz").read_bytes())
    sets = [DataSet("a.xyz", "one"), DataSet("copy.xyz", "two")]
    with pytest.raises(ValueError, match=r"copy.xyz is in the sets one and two"):
        open_sets(sets, heads=("Default",), open_one=open_one)


def test_each_set_is_split_by_itself(open_one):
    sets = [DataSet("a.xyz", "a"), DataSet("atoms.xyz", "atoms"), DataSet("b.xyz", "b")]
    store = open_sets(sets, heads=("Default",), open_one=open_one)

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


def test_a_set_that_cannot_be_split_is_named(open_one, tmp_path):
    lone = store_of(tmp_path, [make_frame(70)], name="lone.xyz")
    store = MixedStore(
        [open_one(DataSet("a.xyz", "a")), lone],
        names=["a", "lone"],
        roles=[SetRole(), SetRole()],
        heads=["Default"],
    )
    with pytest.raises(ValueError, match=r"the set lone of data\.train: 1 frames"):
        split_sets(store, lambda part: make_split(part, valid_fraction=0.2))


def test_a_set_that_may_not_be_held_out_trains_with_all_its_frames(open_one):
    sets = [DataSet("a.xyz", "a", hold_out=False), DataSet("b.xyz", "b")]
    store = open_sets(sets, heads=("Default",), open_one=open_one)
    split = split_sets(
        store, lambda part: make_split(part, valid_fraction=0.4), hold_out=[False, True]
    )
    assert set(range(10)) <= set(split.train.tolist())
    assert (len(split.valid), len(split.train)) == (2, 13)
    alone = open_sets(sets[:1], heads=("Default",), open_one=open_one)
    assert isinstance(alone, MixedStore)  # so that it is split as a set


HARTREE_IN_EV = 27.211386


def renamed_frames(seed, count):
    """Frames as another code writes them: energies and forces in hartree, other names."""
    frames = [make_frame(seed + i) for i in range(count)]
    for atoms in frames:
        atoms.info["E2"] = atoms.info.pop("energy") / HARTREE_IN_EV
        atoms.arrays["F2"] = atoms.arrays.pop("forces") / HARTREE_IN_EV
        del atoms.info["stress"]
    return frames


def test_each_set_has_names_and_units_of_its_own(tmp_path):
    theirs = write_frames(tmp_path / "theirs.xyz", renamed_frames(50, 4))
    own = {"energy_key": "E2", "forces_key": "F2"}
    units = {"energy": "hartree", "length": "angstrom"}
    mine = write_frames(tmp_path / "mine.xyz", [make_frame(i) for i in range(4)])
    spec = [mine, {"path": theirs, "units": units, **own}]
    module = datamodule_of(tmp_path, [make_frame(90)])
    module = type(module)(
        train=spec, r_max=4.0, cache_dir=str(tmp_path / "cache"), valid_fraction=0.25
    )
    module.setup()
    store = module.data.train_store
    expected = [make_frame(50 + i) for i in range(4)]
    assert store.energies[4:] == pytest.approx(
        [atoms.info["energy"] for atoms in expected], rel=1e-6
    )
    np.testing.assert_allclose(
        store.frame(5).forces, expected[1].arrays["forces"], rtol=1e-5, atol=1e-6
    )
    assert store.energies[0] == pytest.approx(make_frame(0).info["energy"])


def test_what_is_wrong_with_a_set_is_said_with_its_name_and_its_own_key(tmp_path):
    theirs = write_frames(tmp_path / "theirs.xyz", renamed_frames(50, 4))
    mine = write_frames(tmp_path / "mine.xyz", [make_frame(i) for i in range(4)])
    module = datamodule_of(tmp_path, [make_frame(90)])
    spec = [mine, {"path": theirs, "energy_key": "E3"}]
    module = type(module)(train=spec, r_max=4.0, cache_dir=str(tmp_path / "cache"))
    with pytest.raises(
        ValueError, match=r"the set theirs.xyz: data.energy_key=E3 is in none of 4"
    ) as caught:
        module.prepare_data()
    assert "For this set alone" in str(caught.value)
    assert "energy_key: NAME" in str(caught.value)


def test_a_run_validates_on_no_frame_of_a_set_that_is_not_held_out(tmp_path):
    old = write_frames(tmp_path / "old.xyz", [make_frame(50 + i) for i in range(10)])
    mine = write_frames(tmp_path / "mine.xyz", [make_frame(i) for i in range(10)])
    module = datamodule_of(tmp_path, [make_frame(90)])
    spec = [mine, {"path": old, "hold_out": False}]
    cache = str(tmp_path / "cache")
    module = type(module)(train=spec, r_max=4.0, cache_dir=cache, valid_fraction=0.3)
    module.setup()
    store, sets = module.data.train_store, module.data.sets
    assert store.set_of(sets["valid"].indices).tolist() == [0, 0, 0]
    assert len(sets["train"]) == 17


def test_places_of_sets_that_are_not_split_are_known(open_one):
    sets = [DataSet("a.xyz", "a"), DataSet("b.xyz", "b", hold_out=False)]
    store = open_sets(sets, heads=("Default",), open_one=open_one)
    assert trained_places(store, [True, False]).tolist() == list(range(10, 15))
    plain = open_sets(sets[:1], heads=("Default",), open_one=open_one)
    assert len(trained_places(plain, [True])) == 0
