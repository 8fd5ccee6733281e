"""The dataset: graphs with the labels of their frames."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_stores import R_MAX, atom_frame, made_frame, store_of, without_labels
from torch.utils.data import DataLoader

from mace_train.data.dataset import GraphDataset
from mace_train.data.sampler import BatchSampler
from mace_train.elements import ElementTable

FRAMES = [
    made_frame(0),
    without_labels(made_frame(1, numbers=(8, 3)), "stress"),
    replace(without_labels(made_frame(2), "energy"), forces_weight=2.0),
    atom_frame(8, -1.5),
]


@pytest.fixture
def store(tmp_path):
    return store_of(tmp_path, FRAMES)


def dataset_of(store, indices, dtype=torch.float64):
    return GraphDataset(
        store, np.array(indices), elements=ElementTable((3, 8)), r_max=R_MAX, dtype=dtype
    )


def test_a_graph_holds_structure_and_labels_of_its_frame(store):
    dataset = dataset_of(store, [3, 0])
    assert len(dataset) == 2
    graph, frame = dataset[1], FRAMES[0]
    np.testing.assert_array_equal(graph.positions, frame.positions)
    assert graph.element_index.tolist() == [0, 0, 1]
    assert graph.num_edges == store.edge_counts(R_MAX)[0]
    np.testing.assert_array_equal(graph.cell[0], frame.cell)
    labels = graph.labels
    assert labels.energy.tolist() == [frame.energy]
    np.testing.assert_array_equal(labels.forces, frame.forces)
    np.testing.assert_array_equal(labels.stress[0], frame.stress)
    assert labels.energy_weight.tolist() == labels.stress_weight.tolist() == [1.0]
    assert labels.frame_index.tolist() == [0]


def test_absent_labels_are_zero_with_weight_zero(store):
    dataset = dataset_of(store, range(4))
    batch = dataset.collate([dataset[item] for item in range(4)])
    labels = batch.labels
    assert labels.energy_weight.tolist() == [1, 1, 0, 1]
    assert labels.forces_weight.tolist() == [1, 1, 2, 0]
    assert labels.stress_weight.tolist() == [1, 0, 1, 0]
    assert labels.energy[2] == 0
    assert labels.forces[batch.graph_index == 3].abs().sum() == 0
    assert labels.frame_index.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_has_the_asked_precision(store, dtype):
    graph = dataset_of(store, [0], dtype)[0]
    assert {graph.positions.dtype, graph.labels.forces.dtype, graph.unit_shifts.dtype} == {
        dtype
    }


def test_energies_keep_their_digits_beside_a_float32_model(store, monkeypatch):
    frame = replace(store.frame(0), energy=-140000.0125)
    monkeypatch.setattr(store, "frame", lambda _: frame)
    energy = dataset_of(store, [0], torch.float32)[0].labels.energy
    assert energy.dtype == torch.float64
    assert energy.tolist() == [-140000.0125]


def test_an_empty_batch_is_a_graph_of_nothing(store):
    empty = dataset_of(store, [0], torch.float32).collate([])
    assert empty.num_graphs == 0
    assert empty.positions.dtype == torch.float32
    assert empty.labels.energy.shape == (0,)


@pytest.mark.parametrize("indices", [[], [0, 1, 2, 3]])
def test_a_batch_brings_its_index_tables(store, indices):
    """So that no step has to look at the edges on the device."""
    dataset = dataset_of(store, indices, torch.float32)
    batch = dataset.collate([dataset[item] for item in range(len(indices))])
    assert batch.with_tables() is batch
    assert len(batch.tables.edge_pair) == batch.num_edges == 2 * len(batch.tables.pair_edge)
    assert sum(batch.tables.elements.counts) == batch.num_nodes
    assert batch.tables.edge_sign.dtype == torch.float32


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_gives_every_frame_once_and_empty_batches_too(store, num_workers):
    seen = []
    for rank in range(3):
        dataset = dataset_of(store, range(4))
        sampler = BatchSampler(
            store.edge_counts(R_MAX), batch_size=2, rank=rank, world_size=3, seed=1
        )
        loader = DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=dataset.collate,
            num_workers=num_workers,
            multiprocessing_context="fork" if num_workers else None,
        )
        batches = list(loader)
        assert len(batches) == 2
        assert all(batch.tables is not None for batch in batches)
        seen += [index for batch in batches for index in batch.labels.frame_index.tolist()]
    assert sorted(seen) == [0, 1, 2, 3]


def test_an_element_that_the_model_does_not_know_is_named(store):
    dataset = GraphDataset(store, np.array([0]), elements=ElementTable((3,)), r_max=R_MAX)
    with pytest.raises(ValueError, match="element O is not known"):
        dataset[0]


def test_a_dataset_can_be_sent_to_another_process(store):
    dataset = dataset_of(store, [1])
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(again[0].positions, dataset[0].positions)
