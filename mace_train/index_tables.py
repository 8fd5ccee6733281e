"""Index tables of a batch: its edges by pair and by receiver, its atoms by element.

Floor 0. What depends on the data's shape is decided here, on the CPU, in a loader's worker;
a step of the model then only follows the tables, and never waits for a GPU to count.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mace_train.movable import Movable

_ATOMS_PER_BLOCK = 8


@dataclass(frozen=True)
class NeighborRows(Movable):
    """Edges in rows: a row holds all neighbors of an atom, or those of one element.

    Attributes:
        receiver: The atom that each row belongs to.
        first: Place of each row's first edge, and behind the last row their number.
        sender: The neighbor at the other end of each edge.
        pair: The pair that each edge belongs to.
        sign: 1 if the edge has the direction of its pair, else -1.
    """

    receiver: Int[Tensor, " rows"]
    first: Int[Tensor, " rows_and_end"]
    sender: Int[Tensor, " edges"]
    pair: Int[Tensor, " edges"]
    sign: Float[Tensor, " edges"]


@dataclass(frozen=True)
class ElementBlocks(Movable):
    """Atoms sorted by element.

    Attributes:
        present: Elements that occur, as places in the model's table, ascending.
        counts: Number of atoms of each.
        order: Atoms, element by element.
        block: Element of each block of equal size, as a place in ``present``.
        atom: Atom in each slot of the blocks; the block's first one again if empty.
        slot: Slot of each atom.
    """

    present: Int[Tensor, " present"]
    counts: tuple[int, ...]
    order: Int[Tensor, " nodes"]
    block: Int[Tensor, " blocks"]
    atom: Int[Tensor, "blocks size"]
    slot: Int[Tensor, " nodes"]


@dataclass(frozen=True)
class IndexTables(Movable):
    """All index tables of a graph.

    The two edges between two atoms are a pair: they share their length, and their vectors
    differ by the sign. An edge without its reverse is a pair of its own.

    Attributes:
        pair_edge: The edge that stands for each pair.
        edge_pair: The pair of each edge.
        edge_sign: 1 if the edge has the direction of its pair, else -1.
        neighbors: The edges of each receiver.
        neighbors_by_element: The edges of each receiver and element of the sender.
        elements: The atoms by element.
    """

    pair_edge: Int[Tensor, " pairs"]
    edge_pair: Int[Tensor, " edges"]
    edge_sign: Float[Tensor, " edges"]
    neighbors: NeighborRows
    neighbors_by_element: NeighborRows
    elements: ElementBlocks

    @classmethod
    def build(
        cls,
        edge_index: Int[Tensor, "2 edges"],
        unit_shifts: Float[Tensor, "edges 3"],
        element_index: Int[Tensor, " nodes"],
    ) -> IndexTables:
        """Sort the edges and atoms of a graph; a few microseconds an atom.

        Args:
            edge_index: Row 0 the sender, row 1 the receiver, in any order.
            unit_shifts: Whole cell vectors that each edge crosses.
            element_index: Element of each atom.
        """
        edges = edge_index.cpu().numpy()
        shifts = unit_shifts.detach().cpu().numpy()
        element = element_index.cpu().numpy()
        pair_edge, edge_pair, sign = _pairs(edges, shifts, len(element))
        present, place, counts = np.unique(element, return_inverse=True, return_counts=True)
        dtype = unit_shifts.dtype
        directed = (edges, edge_pair, sign, dtype)
        # Bounded by atoms x elements present; below 2^16 such keys sort in linear time.
        by_element = edges[1] * len(present) + place[edges[0]]
        tables = cls(
            pair_edge=torch.from_numpy(pair_edge),
            edge_pair=torch.from_numpy(edge_pair),
            edge_sign=torch.from_numpy(sign).to(dtype),
            neighbors=_rows(edges[1], len(element), *directed),
            neighbors_by_element=_rows(by_element, len(element) * len(present), *directed),
            elements=_element_blocks(place, counts, present),
        )
        return tables.to(edge_index.device)


def _pairs(
    edges: Int[np.ndarray, "2 edges"], shifts: np.ndarray, num_nodes: int
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " edges"], Int[np.ndarray, " edges"]]:
    """Representative edge of each pair, pair of each edge, and its sign."""
    num_edges = edges.shape[1]
    if _is_interleaved(edges, shifts):
        first = np.arange(0, num_edges, 2)
        sign = np.ones(num_edges, np.int64)
        sign[1::2] = -1
        return first, np.arange(num_edges) // 2, sign
    forward, backward = _keys(edges, np.rint(shifts).astype(np.int64), num_nodes)
    _, pair_edge, edge_pair = np.unique(
        np.maximum(forward, backward), return_index=True, return_inverse=True
    )
    sign = np.where(forward >= backward, 1, -1)
    return pair_edge, edge_pair, sign * sign[pair_edge][edge_pair]


def _is_interleaved(edges: Int[np.ndarray, "2 edges"], shifts: np.ndarray) -> bool:
    """Whether edges 2k and 2k + 1 are a pair, as `neighbor_list` leaves them."""
    return edges.shape[1] % 2 == 0 and bool(
        np.array_equal(edges[:, ::2], edges[::-1, 1::2])
        and np.array_equal(shifts[::2], -shifts[1::2])
    )


def _keys(
    edges: Int[np.ndarray, "2 edges"], shifts: Int[np.ndarray, "edges 3"], num_nodes: int
) -> tuple[Int[np.ndarray, " edges"], Int[np.ndarray, " edges"]]:
    """A number for each edge, and that of its reverse."""
    radius = int(np.abs(shifts).max(initial=0))
    sizes = (num_nodes, num_nodes, *[2 * radius + 1] * 3)
    rows = [
        np.column_stack([*ends, *(sign * shifts + radius).T])
        for ends, sign in ((edges, 1), (edges[::-1], -1))
    ]
    if reduce(lambda product, size: product * size, sizes, 1) < 2**62:
        keys = [np.asarray(np.ravel_multi_index(tuple(row.T), sizes)) for row in rows]
    else:  # atoms thousands of cells apart: number the rows by sorting them
        _, place = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
        keys = list(place.reshape(2, -1))
    return keys[0], keys[1]


def _rows(
    key: Int[np.ndarray, " edges"],
    num_keys: int,
    edges: Int[np.ndarray, "2 edges"],
    edge_pair: Int[np.ndarray, " edges"],
    edge_sign: Int[np.ndarray, " edges"],
    dtype: torch.dtype,
) -> NeighborRows:
    """Put the edges of each key into a row, rows in the order of keys."""
    short = key.astype(np.uint16) if num_keys < 2**16 else key
    order = np.argsort(short, kind="stable")
    counts = np.bincount(key, minlength=num_keys)
    counts = counts[counts > 0]
    first = np.concatenate([[0], np.cumsum(counts)])
    sender, receiver = edges[:, order]
    return NeighborRows(
        receiver=torch.from_numpy(receiver[first[:-1]]),
        first=torch.from_numpy(first),
        sender=torch.from_numpy(sender.copy()),
        pair=torch.from_numpy(edge_pair[order]),
        sign=torch.from_numpy(edge_sign[order]).to(dtype),
    )


def _element_blocks(
    place: Int[np.ndarray, " nodes"],
    counts: Int[np.ndarray, " present"],
    present: Int[np.ndarray, " present"],
) -> ElementBlocks:
    order = np.argsort(place, kind="stable")
    num_blocks = -(-counts // _ATOMS_PER_BLOCK)
    first_slot = (np.cumsum(num_blocks) - num_blocks) * _ATOMS_PER_BLOCK
    first_atom = np.cumsum(counts) - counts
    in_order = place[order]
    slot = np.empty_like(place)
    slot[order] = np.arange(len(place)) - first_atom[in_order] + first_slot[in_order]
    block = np.repeat(np.arange(len(counts)), num_blocks)
    atom = np.repeat(order[first_atom][block], _ATOMS_PER_BLOCK)
    atom[slot] = np.arange(len(place))
    return ElementBlocks(
        present=torch.from_numpy(present),
        counts=tuple(counts.tolist()),
        order=torch.from_numpy(order),
        block=torch.from_numpy(block),
        atom=torch.from_numpy(atom.reshape(-1, _ATOMS_PER_BLOCK)),
        slot=torch.from_numpy(slot),
    )
