"""`IndexTables`: every edge and every atom has its one place, whatever the order."""

from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
import torch

from mace_train.index_tables import ElementBlocks, IndexTables, NeighborRows

ELEMENT = torch.tensor([4, 1, 1, 7, 4, 1])  # of a table with gaps; atom 5 has no edges
# Sender, receiver, unit shift: pairs in both directions next to each other, with images of
# an atom itself, and two pairs of the same atoms.
INTERLEAVED = [
    *[(0, 1, 0, 0, 0), (1, 0, 0, 0, 0)],
    *[(0, 1, 1, 0, 0), (1, 0, -1, 0, 0)],
    *[(2, 2, 0, 1, 0), (2, 2, 0, -1, 0)],
    *[(3, 4, 0, 0, -2), (4, 3, 0, 0, 2)],
    *[(2, 0, 0, 0, 0), (0, 2, 0, 0, 0)],
    *[(3, 0, 0, 0, 0), (0, 3, 0, 0, 0)],
    *[(4, 0, 0, 0, 0), (0, 4, 0, 0, 0)],
]
FAR = 3_000_000  # cell vectors: keys of atoms and shifts no longer fit into 62 bits
EDGES = {
    "interleaved": INTERLEAVED,
    "sorted": sorted(INTERLEAVED),
    "reversed": INTERLEAVED[::-1],
    "shuffled": [INTERLEAVED[i] for i in np.random.default_rng(0).permutation(14)],
    "one direction": INTERLEAVED[::2],
    "some without a reverse": INTERLEAVED[:5] + INTERLEAVED[8:],
    "far apart": [*INTERLEAVED[::-1], (1, 2, FAR, 0, -FAR), (2, 1, -FAR, 0, FAR)],
    "one edge": INTERLEAVED[:1],
    "none": [],
}


def build(edges, element=ELEMENT, dtype=torch.float64) -> IndexTables:
    table = torch.tensor(edges, dtype=torch.int64).reshape(-1, 5)
    return IndexTables.build(table[:, :2].T, table[:, 2:].to(dtype), element)


@pytest.fixture(params=EDGES)
def edges(request):
    return EDGES[request.param]


def reversed_edge(edge):
    sender, receiver, x, y, z = edge
    return receiver, sender, -x, -y, -z


def directed(tables, edges, pair, sign):
    """The edge that a pair is, seen with a sign."""
    edge = edges[int(tables.pair_edge[pair])]
    return edge if sign > 0 else reversed_edge(edge)


def test_an_edge_is_its_pair_with_its_sign(edges):
    tables = build(edges)
    found = [
        directed(tables, edges, pair, sign)
        for pair, sign in zip(tables.edge_pair, tables.edge_sign, strict=True)
    ]
    assert found == edges


def test_there_is_one_pair_for_an_edge_and_its_reverse(edges):
    tables = build(edges)
    assert len(tables.pair_edge) == len({min(e, reversed_edge(e)) for e in edges})
    stands_for = tables.edge_pair[tables.pair_edge]
    assert stands_for.tolist() == list(range(len(tables.pair_edge)))
    assert (tables.edge_sign[tables.pair_edge] == 1).all()


@pytest.mark.parametrize("name", ["neighbors", "neighbors_by_element"])
def test_every_edge_stands_once_in_a_row_of_its_receiver(edges, name):
    tables = build(edges)
    rows = getattr(tables, name)
    found = []
    for receiver, places in rows_of(rows):
        assert len(places) > 0
        for place in places:
            edge = directed(tables, edges, int(rows.pair[place]), rows.sign[place])
            assert edge[:2] == (int(rows.sender[place]), receiver)
            found.append(edge)
    assert sorted(found) == sorted(edges)


def rows_of(rows: NeighborRows):
    """Receiver of each row, and places of its edges."""
    ends = rows.first.tolist()
    assert (ends[0], len(ends)) == (0, len(rows.receiver) + 1)
    assert ends[-1] == len(rows.sender) == len(rows.pair) == len(rows.sign)
    places = [range(*pair) for pair in pairwise(ends)]
    return list(zip(rows.receiver.tolist(), places, strict=True))


def test_a_receiver_has_one_row_and_one_for_each_element_around_it(edges):
    tables = build(edges)
    receivers = [receiver for receiver, _ in rows_of(tables.neighbors)]
    assert sorted(receivers) == sorted({edge[1] for edge in edges})
    keys = []
    for receiver, places in rows_of(tables.neighbors_by_element):
        sender = tables.neighbors_by_element.sender
        (element,) = {int(ELEMENT[sender[place]]) for place in places}
        keys.append((receiver, element))
    assert sorted(keys) == sorted({(e[1], int(ELEMENT[e[0]])) for e in edges})


@pytest.mark.parametrize(
    "element", [ELEMENT, torch.tensor([2] * 19 + [0] * 8 + [5]), torch.arange(9).flip(0)]
)
def test_every_atom_has_one_slot_in_a_block_of_its_element(element):
    blocks = build([], element).elements
    present, counts = np.unique(element.numpy(), return_counts=True)
    assert blocks.present.tolist() == present.tolist()
    assert blocks.counts == tuple(counts.tolist())
    assert element[blocks.order].tolist() == sorted(element.tolist())
    assert sorted(blocks.order.tolist()) == list(range(len(element)))
    assert blocks.atom.flatten()[blocks.slot].tolist() == list(range(len(element)))
    of_blocks = blocks.present[blocks.block]
    assert (element[blocks.atom] == of_blocks[:, None]).all()


def test_no_atoms_have_no_tables():
    tables = build([], torch.zeros(0, dtype=torch.int64))
    for rows in (tables.neighbors, tables.neighbors_by_element):
        assert rows.first.tolist() == [0]
        assert rows.receiver.numel() == rows.sender.numel() == 0
    assert tables.elements.counts == ()
    assert tables.elements.atom.numel() == tables.pair_edge.numel() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_signs_have_the_precision_of_the_graph(dtype, edges):
    tables = build(edges, dtype=dtype)
    signs = [tables.edge_sign, tables.neighbors.sign, tables.neighbors_by_element.sign]
    assert {sign.dtype for sign in signs} == {dtype}
    for record in (tables.neighbors, tables.elements):
        assert isinstance(record, NeighborRows | ElementBlocks)
        floats = {f.name for f in fields(record)} & {"sign"}
        indices = {f.name for f in fields(record)} - floats - {"counts"}
        assert {getattr(record, name).dtype for name in indices} == {torch.int64}


def test_many_atoms_are_sorted_as_few_are():
    """Beyond 2^16 keys another sort takes over."""
    num_nodes = 70_000
    sender = torch.arange(num_nodes - 1)
    edges = torch.stack([sender, sender + 1])[:, torch.randperm(num_nodes - 1)]
    shifts = torch.zeros(num_nodes - 1, 3)
    tables = IndexTables.build(edges, shifts, sender.new_zeros(num_nodes))
    rows = tables.neighbors
    assert torch.equal(rows.receiver, sender + 1)
    assert torch.equal(rows.sender, sender)
    assert torch.equal(rows.first, torch.arange(num_nodes))
