import logging

import numpy as np
import pytest
from small_crystals import R_MAX, datamodule_of, isolated_atom, make_frame, write_frames

from mace_train.elements import ElementTable
from mace_train.training.datamodule import MACEDataModule
from mace_train.training.training_data import (
    SPLIT_NAMES,
    Parent,
    load_training_data,
)


@pytest.fixture
def log(caplog):
    """Messages of the package, whether or not a command has cut it off from the root."""
    package = logging.getLogger("mace_train")
    package.addHandler(caplog.handler)
    caplog.set_level(logging.INFO, "mace_train")
    yield caplog
    package.removeHandler(caplog.handler)


def load(tmp_path, frames, *, parent=None, **options):
    sources = datamodule_of(tmp_path, frames, **options).sources
    stores = {name: sources.open(name, r_max=R_MAX) for name in SPLIT_NAMES}
    return load_training_data(sources, stores, r_max=R_MAX, parent=parent)


def test_fractions_of_the_training_file_validate_and_test(tmp_path, log):
    data = load(
        tmp_path, [make_frame(i) for i in range(10)], valid_fraction=0.2, test_fraction=0.1
    )
    assert {name: len(frames) for name, frames in data.sets.items()} == {
        "train": 7,
        "valid": 2,
        "test": 1,
    }
    every = np.concatenate([frames.indices for frames in data.sets.values()])
    assert sorted(every) == list(range(10))
    assert "labels: energy 10/10, forces 10/10, stress 10/10" in log.text
    assert "train: 7 frames, 28 atoms; energy 7/7" in log.text


def test_a_set_with_files_of_its_own_takes_no_training_frames(tmp_path):
    valid = write_frames(tmp_path / "valid.xyz", [make_frame(20), make_frame(21)])
    data = load(tmp_path, [make_frame(i) for i in range(6)], valid=valid, test=[valid])
    assert data.sets["train"].indices.tolist() == list(range(6))
    assert data.sets["valid"].indices.tolist() == [0, 1]
    assert data.sets["test"].store.frame(1).source == "valid.xyz"


def test_groups_stay_on_one_side(tmp_path):
    frames = [make_frame(i, group=f"mp-{i // 4}") for i in range(20)]
    data = load(tmp_path, frames, valid_fraction=0.2)
    assert data.split.method == "group"
    assert len({i // 4 for i in data.sets["valid"].indices}) == 1
    assert len(data.sets["valid"]) == 4


def test_isolated_atoms_give_e0s_and_are_neither_trained_on_nor_scored(tmp_path, log):
    frames = [isolated_atom("Li", -1.25), *(make_frame(i) for i in range(8))]
    frames += [isolated_atom("O", -2.5)]
    data = load(tmp_path, frames, valid_fraction=0.25, e0s="isolated_atoms")
    assert data.statistics.atomic_energies.tolist() == [-1.25, -2.5]
    scored = np.concatenate([frames.indices for frames in data.sets.values()])
    assert sorted(scored) == list(range(1, 9))
    assert "2 frames of isolated atoms give E0s and nothing else" in log.text


def test_avg_num_neighbors_is_all_edges_over_all_atoms(tmp_path):
    data = load(tmp_path, [make_frame(i) for i in range(6)])
    train = data.sets["train"]
    edges = train.store.edge_counts(R_MAX)[train.indices].sum()
    assert data.statistics.avg_num_neighbors == edges / (4 * len(train))


def test_elements_are_those_of_the_data_or_the_89_or_the_list(tmp_path):
    frames = [make_frame(i) for i in range(4)]
    assert load(tmp_path, frames).elements.symbols == ("Li", "O")
    assert len(load(tmp_path, frames, elements="mp0", e0s="mp0").elements) == 89
    listed = load(tmp_path, frames, elements=["O", 3, "H"])
    assert listed.elements.symbols == ("H", "Li", "O")
    with pytest.raises(ValueError, match="'Xx' is no element"):
        load(tmp_path, frames, elements=["Li", "Xx"])
    with pytest.raises(
        ValueError, match=r"data.elements does not know O, which 3 of 3 frames"
    ):
        load(tmp_path, frames, elements=[3], valid_fraction=0.25)


def test_a_validation_file_with_an_unknown_element_is_refused_with_its_frames(tmp_path):
    valid = write_frames(tmp_path / "valid.xyz", [make_frame(9, symbols=("Li", "Fe"))])
    frames = [make_frame(i) for i in range(4)]
    with pytest.raises(ValueError, match="does not know Fe, which 1 of 1 frames") as error:
        load(tmp_path, frames, valid=valid)
    assert "valid.xyz, frame 0, Li2Fe2" in str(error.value)
    assert "data.elements" in str(error.value)


def test_an_element_that_is_only_validated_is_warned_of(tmp_path, log):
    valid = write_frames(tmp_path / "valid.xyz", [make_frame(9, symbols=("Li", "Fe"))])
    load(tmp_path, [make_frame(i) for i in range(4)], valid=valid, elements=[3, 8, 26])
    assert "no training frame holds Fe: errors on 1 of 1 valid frames" in log.text


def test_a_parent_decides_on_elements_and_statistics(tmp_path):
    frames = [make_frame(i) for i in range(4)]
    own = load(tmp_path, frames)
    parent = Parent(own.elements, own.statistics_by_head)
    data = load(tmp_path, frames, parent=parent)
    assert data.statistics is own.statistics
    more = Parent(ElementTable((1, 3, 8)))
    assert load(tmp_path, frames, parent=more).elements == more.elements
    fewer = Parent(more.elements, keeps_all=False)
    assert load(tmp_path, frames, parent=fewer).elements == own.elements
    with pytest.raises(ValueError, match="the model of init_from does not know O"):
        load(tmp_path, frames, parent=Parent(ElementTable((3,))))


def test_settings_that_a_parent_overrules_are_named(tmp_path, log):
    frames = [make_frame(i) for i in range(4)]
    own = load(tmp_path, frames)
    load(tmp_path, frames, parent=Parent(own.elements, own.statistics_by_head))
    assert "has no effect" not in log.text
    load(tmp_path, frames, e0s="mp0", parent=Parent(own.elements, own.statistics_by_head))
    assert "data.e0s=mp0 has no effect: that of the model of init_from is kept" in log.text


def test_validation_frames_of_a_split_file_beside_own_files_are_counted(tmp_path, log):
    frames = [make_frame(i) for i in range(8)]
    first = datamodule_of(tmp_path, frames, valid_fraction=0.25)
    first.setup()
    first.write_split(tmp_path)
    valid = write_frames(tmp_path / "valid.xyz", [make_frame(9)])
    load(tmp_path, frames, valid=valid, split_file=str(tmp_path / "split.json"))
    assert "data.valid names files of its own: 2 frames" in log.text


def test_no_training_frame_at_all_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"none of the 1 frames of data.train"):
        load(tmp_path, [isolated_atom("Li", -1.0)], valid_fraction=0.0)


def test_no_validation_is_allowed_and_said(tmp_path, log):
    data = load(tmp_path, [make_frame(i) for i in range(3)], valid_fraction=0.0)
    assert len(data.sets["valid"]) == 0
    assert "there are no validation frames" in log.text


@pytest.fixture
def two_heads(tmp_path):
    """Files of two heads, a split file that names the first alone, and a parent."""
    mine = [make_frame(i) for i in range(8)]
    path = write_frames(tmp_path / "mine.xyz", mine)
    old = write_frames(tmp_path / "old.xyz", [make_frame(20 + i) for i in range(4)])
    module = datamodule_of(tmp_path, path, valid_fraction=0.25)
    module.setup()
    module.write_split(tmp_path)
    statistics = dict.fromkeys(("mine", "old"), module.data.statistics)
    parent = Parent(module.data.elements, statistics)
    return path, old, parent


def load_sets(tmp_path, sets, parent):
    module = MACEDataModule(
        train=sets,
        r_max=R_MAX,
        cache_dir=str(tmp_path / "cache"),
        split_file=str(tmp_path / "split.json"),
    )
    module.use_parent(parent, r_max=R_MAX)
    module.setup()
    return module.data


def test_a_split_file_leaves_sets_that_are_not_held_out_in_training(
    tmp_path, two_heads, log
):
    path, old, parent = two_heads
    sets = [
        {"path": path, "head": "mine"},
        {"path": old, "head": "old", "hold_out": False},
    ]
    data = load_sets(tmp_path, sets, parent)
    train = data.sets["train"].indices
    assert np.bincount(data.train_store.set_of(train)).tolist() == [6, 4]
    assert data.train_store.set_of(data.sets["valid"].indices).tolist() == [0, 0]
    assert "in no subset" not in log.text


def test_a_head_that_a_split_file_leaves_without_frames_is_refused(tmp_path, two_heads):
    path, old, parent = two_heads
    sets = [{"path": path, "head": "mine"}, {"path": old, "head": "old"}]
    with pytest.raises(ValueError, match=r"no frame of the head old.*data\.split_file"):
        load_sets(tmp_path, sets, parent)
