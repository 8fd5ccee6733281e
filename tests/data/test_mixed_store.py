"""Several sets as one store: frames, roles, heads, edges and names."""

import pickle

import numpy as np
import pytest
import torch
from small_crystals import R_MAX, make_frame, store_of

from mace_train.data.dataset import GraphDataset
from mace_train.data.mixed_store import ONLY_SET, MixedStore, SetRole, count_by_set, role_of
from mace_train.elements import ElementTable

ROLES = [SetRole(0), SetRole(1, 5.0, 0.0, 2.5), SetRole(0, 2.0, 2.0, 2.0)]


@pytest.fixture
def parts(tmp_path):
    sizes = {"a.xyz": 3, "b.xyz": 2, "c.xyz": 4}
    return [
        store_of(tmp_path, [make_frame(10 * n + i) for i in range(size)], name=name)
        for n, (name, size) in enumerate(sizes.items())
    ]


@pytest.fixture
def store(parts):
    return MixedStore(parts, names=["a", "b", "c"], roles=ROLES, heads=["pbe", "scan"])


def test_frames_follow_each_other_set_by_set(store, parts):
    assert len(store) == 9
    assert store.set_sizes == [3, 2, 4]
    for place, (part, own) in {0: (0, 0), 3: (1, 0), 4: (1, 1), 8: (2, 3)}.items():
        assert np.array_equal(
            store.frame(place).positions, parts[part].frame(own).positions
        )
    assert np.array_equal(store.energies, np.concatenate([p.energies for p in parts]))
    edges = np.concatenate([part.edge_counts(R_MAX) for part in parts])
    assert np.array_equal(store.edge_counts(R_MAX), edges)


def test_a_frame_has_the_role_of_its_set(store, parts):
    assert [store.role(place) for place in (2, 3, 4, 5)] == [
        ROLES[0], ROLES[1], ROLES[1], ROLES[2],
    ]  # fmt: skip
    assert store.set_of(np.arange(9)).tolist() == [0] * 3 + [1] * 2 + [2] * 4
    assert store.head_of(np.array([0, 4, 8])).tolist() == [0, 1, 0]
    assert role_of(store, 4) is ROLES[1]
    assert role_of(parts[0], 0) is ONLY_SET


def test_frames_are_counted_by_set(store, parts):
    assert count_by_set(store, np.array([0, 1, 5])) == [2, 0, 1]
    assert count_by_set(parts[0], np.array([0, 2])) == [2]


def test_the_sets_of_a_head_are_a_store_of_their_own(store, parts):
    own, places = store.of_head(0, np.array([1, 3, 5, 8]))
    assert len(own) == 7
    assert [own.describe(place) for place in places.tolist()] == [
        store.describe(place) for place in (1, 5, 8)
    ]
    only, places = store.of_head(1, np.array([1, 3, 5, 8]))
    assert only is parts[1]
    assert places.tolist() == [0]


def test_graphs_carry_the_head_and_the_weights_of_their_set(store):
    dataset = GraphDataset(store, np.arange(9), elements=ElementTable((3, 8)), r_max=R_MAX)
    batch = dataset.collate([dataset[place] for place in (0, 3, 8)])
    assert batch.head.tolist() == [0, 1, 0]
    labels = batch.labels
    assert labels.frame_weight.tolist() == [[1, 1, 1], [5, 0, 2.5], [2, 2, 2]]
    assert labels.energy_weight.tolist() == [1, 1, 1]
    assert labels.forces_weight.tolist() == [1, 0, 1]  # weight 0: as if not labelled
    assert labels.frame_index.tolist() == [0, 3, 8]


def test_a_file_name_that_occurs_twice_is_told_apart_by_its_set(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
    twins = [
        store_of(tmp_path / name, [make_frame(seed)]) for seed, name in enumerate("xy")
    ]
    other = store_of(tmp_path, [make_frame(5)], name="other.xyz")
    store = MixedStore(
        [*twins, other], names=["X", "Y", "Z"], roles=[ONLY_SET] * 3, heads=["Default"]
    )
    names, numbers = store.sources
    assert names == ["X: frames.xyz", "Y: frames.xyz", "other.xyz"]
    assert numbers.tolist() == [0, 1, 2]


def test_a_store_can_be_sent_to_another_process(store):
    again = pickle.loads(pickle.dumps(store))
    assert again.role(4) == ROLES[1]
    assert torch.equal(
        torch.from_numpy(again.frame(4).positions),
        torch.from_numpy(store.frame(4).positions),
    )
