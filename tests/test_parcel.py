"""Parcels: what arrives in the other process is what was sent, in one block."""

import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from ase.build import bulk
from torch.utils.data import DataLoader

import mace_train.data.dataset  # noqa: F401 - sends graphs in one block
from mace_train.elements import ElementTable
from mace_train.graph import AtomicGraph
from mace_train.micro_batches import MicroBatches

ELEMENTS = ElementTable((14, 29))


def batch(dtype=torch.float32):
    graphs = [
        AtomicGraph.from_atoms(bulk(name), elements=ELEMENTS, r_max=4.0, dtype=dtype)
        for name in ("Si", "Cu")
    ]
    return AtomicGraph.batch(graphs).with_tables()


def sent(record):
    return pickle.loads(bytes(ForkingPickler.dumps(record)))


def tensors_of(record):
    """All tensors of a record by the names of their fields."""
    if isinstance(record, torch.Tensor):
        return {"": record}
    if isinstance(record, tuple):
        items = {str(place): value for place, value in enumerate(record)}
    else:
        items = vars(record) if hasattr(record, "__dict__") else {}
    return {
        f"{name}.{inner}": tensor
        for name, value in items.items()
        for inner, tensor in tensors_of(value).items()
    }


def assert_same(first, second):
    mine, other = tensors_of(first), tensors_of(second)
    assert list(mine) == list(other)
    for name, tensor in mine.items():
        assert tensor.dtype == other[name].dtype, name
        assert tensor.shape == other[name].shape, name
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_arrives_as_it_was_in_one_block(dtype):
    graph = batch(dtype)
    arrived = sent(graph)
    assert_same(arrived, graph)
    assert arrived.tables.elements.counts == graph.tables.elements.counts
    blocks = {t.untyped_storage().data_ptr() for t in tensors_of(arrived).values()}
    assert len(blocks) == 1


@pytest.mark.parametrize("num_parts", [0, 1, 3])
def test_a_share_of_any_number_of_parts_arrives(num_parts):
    share = MicroBatches(tuple(batch() for _ in range(num_parts)))
    arrived = sent(share)
    assert isinstance(arrived, MicroBatches)
    assert len(arrived) == num_parts
    assert_same(arrived, share)


def test_an_empty_graph_arrives():
    assert_same(sent(AtomicGraph.empty()), AtomicGraph.empty())


def test_a_pickle_that_stays_here_is_what_it_was():
    graph = batch()
    again = pickle.loads(pickle.dumps(graph))
    assert_same(again, graph)
    blocks = {t.untyped_storage().data_ptr() for t in tensors_of(again).values()}
    assert len(blocks) > 1


class Graphs(torch.utils.data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, item):
        return batch()


def test_a_loaders_workers_send_in_one_block():
    loader = DataLoader(
        Graphs(), batch_size=None, num_workers=2, multiprocessing_context="fork"
    )
    arrived = list(loader)
    assert len(arrived) == 3
    for graph in arrived:
        assert_same(graph, batch())
        blocks = {t.untyped_storage().data_ptr() for t in tensors_of(graph).values()}
        assert len(blocks) == 1
    np.testing.assert_array_equal(arrived[0].atomic_numbers, [14, 14, 29])
