"""`SkinList`: graphs of a structure that moves, searched anew only when they have to be.

Floor 0, for the calculator. A search finds the pairs within the cutoff and a skin. While
atoms and cell move little, the pairs within the cutoff are among these: a step only picks
them out, and their index tables out of sorted ones (L. Verlet, Phys. Rev. 159, 98, 1967).

Edges stand in an order of their own. So a graph depends on the structure alone, not on when
the last search was: a run, or a run that goes on, gives the same numbers with any skin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mace_train.elements import ElementTable
from mace_train.graph import AtomicGraph
from mace_train.index_tables import IndexTables, NeighborRows
from mace_train.neighbors import require_finite
from mace_train.ordered_pairs import OrderedPairs

_ROUNDING = 1e-6  # Å that a search reaches beyond what is asked of it


class SkinList:
    """Makes graphs, cheaply where a structure is near the one before.

    Args:
        elements: The model's elements.
        r_max: Cutoff in Å.
        skin: How much farther a search looks, Å. It is good until two atoms can have come
            nearer by that much; with 0 whatever moves is searched.
        dtype: Floating-point type of the graphs; neighbors are found in float64.
        device: Where the graphs are wanted.

    Attributes:
        num_searches: How many searches there were.

    Raises:
        ValueError: If ``skin`` is negative or not finite.
    """

    def __init__(
        self,
        *,
        elements: ElementTable,
        r_max: float,
        skin: float = 0.5,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> None:
        if not 0 <= skin < np.inf:
            raise ValueError(f"skin={skin} must be a length in Å, 0 or more")
        self.num_searches = 0
        self._elements = elements
        self._r_max = r_max
        self._skin = skin
        self._dtype = dtype
        self._device = torch.device(device)
        self._found: _Search | None = None

    def graph(
        self,
        positions: Float[np.ndarray, "nodes 3"],
        atomic_numbers: Int[np.ndarray, " nodes"],
        *,
        cell: Float[np.ndarray, "3 3"],
        pbc: Bool[np.ndarray, " 3"],
        head: int = 0,
    ) -> AtomicGraph:
        """The graph of a structure, with its index tables.

        It is that of `AtomicGraph.from_arrays` but for the order of edges and, in float32,
        the origin: coordinates are exact near the middle of the atoms, wherever that is.

        Args:
            positions: Å.
            atomic_numbers: 1..118.
            cell: Lattice vectors in rows, Å.
            pbc: Which lattice vectors are periodic.
            head: Place of the head in the model's list.

        Raises:
            ValueError: If an element is not in the table, a number is not finite, or the
                cell does not span the periodic directions.
        """
        require_finite(positions, cell)
        found, self._found = self._found, None  # frees its memory before a search
        if found is not None and found.is_of(atomic_numbers, pbc):
            found = found.followed(positions, cell[pbc], self._r_max)
        else:
            found = None
        if found is None:
            found = self._search(positions, atomic_numbers, cell, pbc)
        self._found = found
        squares = found.pairs.squared_lengths(positions, cell)
        is_near = squares < self._r_max**2
        near = np.flatnonzero(is_near)
        edge_index, unit_shifts = found.pairs.edges(near)
        if self._dtype != torch.float64 and len(positions):
            positions = positions - positions.mean(0)
        return AtomicGraph(
            positions=torch.tensor(positions, dtype=self._dtype),
            atomic_numbers=torch.tensor(atomic_numbers, dtype=torch.int64),
            element_index=found.element_index,
            cell=torch.tensor(cell, dtype=self._dtype).reshape(1, 3, 3),
            pbc=torch.tensor(pbc).reshape(1, 3),
            edge_index=torch.from_numpy(edge_index),
            unit_shifts=torch.from_numpy(unit_shifts).to(self._dtype),
            graph_index=torch.zeros(len(positions), dtype=torch.int64),
            head=torch.tensor([head]),
            tables=_tables_of(found.tables, is_near, len(near)),
        ).to(self._device)

    def _search(
        self,
        positions: np.ndarray,
        atomic_numbers: np.ndarray,
        cell: np.ndarray,
        pbc: np.ndarray,
    ) -> _Search:
        self.num_searches += 1
        element_index = torch.from_numpy(self._elements.index_of(atomic_numbers))
        reach = self._r_max + self._skin
        pairs = OrderedPairs.search(positions, cell, pbc, r_max=reach + _ROUNDING)
        edge_index, unit_shifts = pairs.edges(np.arange(len(pairs)))
        tables = IndexTables.build(
            torch.from_numpy(edge_index),
            torch.from_numpy(unit_shifts).to(self._dtype),
            element_index,
        )
        vectors = cell[pbc]
        return _Search(
            reach=reach,
            positions=positions.copy(),
            atomic_numbers=atomic_numbers.copy(),
            vectors=vectors,
            inverse=np.linalg.pinv(vectors),
            pbc=pbc.copy(),
            pairs=pairs,
            tables=tables,
            element_index=element_index,
        )


@dataclass(frozen=True)
class _Search:
    """What a search has found, and of which structure.

    Attributes:
        reach: Pairs up to this distance were found, Å.
        positions: Where the atoms were, Å.
        atomic_numbers: What they were.
        vectors: The periodic lattice vectors.
        inverse: Their pseudo-inverse.
        pbc: Which lattice vectors these are.
        pairs: What was found.
        tables: Index tables of both directions of all pairs.
        element_index: Places of the atomic numbers in the table of elements.
    """

    reach: float
    positions: Float[np.ndarray, "nodes 3"]
    atomic_numbers: Int[np.ndarray, " nodes"]
    vectors: Float[np.ndarray, "periodic 3"]
    inverse: Float[np.ndarray, "3 periodic"]
    pbc: Bool[np.ndarray, " 3"]
    pairs: OrderedPairs
    tables: IndexTables
    element_index: Int[Tensor, " nodes"]

    def is_of(self, atomic_numbers: np.ndarray, pbc: np.ndarray) -> bool:
        """Whether these are the atoms, in this order, and the periodic directions."""
        return np.array_equal(self.atomic_numbers, atomic_numbers) and np.array_equal(
            self.pbc, pbc
        )

    def followed(
        self, positions: np.ndarray, vectors: np.ndarray, r_max: float
    ) -> _Search | None:
        """The same search if it still holds all pairs nearer than ``r_max``, else None.

        A linear map F takes the old lattice vectors to the new ones and leaves what is
        perpendicular to them. Let u be what atoms moved beside that: a pair vector v has
        become v F + u_j - u_i. So a pair that was not found, |v| >= reach, is now at least
        reach s - 2 max|u - c| apart, where s is the smallest singular value of F and c any
        vector. An atom may have been moved by whole lattice vectors besides.
        """
        deformation = np.eye(3) + self.inverse @ (vectors - self.vectors)
        smallest = np.linalg.svd(deformation, compute_uv=False)[-1]
        moved = positions - self.positions @ deformation
        jumps = np.rint(moved @ self.inverse)
        moved -= jumps @ vectors
        if not self.reach * smallest - _largest_approach(moved) >= r_max:
            return None
        if not jumps.any():
            return self
        by_axis = np.zeros((len(jumps), 3), np.int64)
        by_axis[:, self.pbc] = jumps
        there = self.positions + jumps @ self.vectors
        return replace(self, positions=there, pairs=self.pairs.moved(by_axis))


def _largest_approach(moved: Float[np.ndarray, "nodes 3"]) -> float:
    """By how much two atoms can have come nearer, given what each has moved, Å."""
    if len(moved) < 2:
        return 0.0
    middle = 0.5 * (moved.min(0) + moved.max(0))
    squares = [((moved - center) ** 2).sum(1).max() for center in (0.0, middle)]
    return 2 * float(np.sqrt(min(squares)))


def _tables_of(
    tables: IndexTables, is_near: Bool[np.ndarray, " pairs"], num_near: int
) -> IndexTables:
    """The index tables of some pairs, out of those of all: as if built from them alone."""
    new_pair = np.cumsum(is_near) - 1
    return IndexTables(
        pair_edge=tables.pair_edge[:num_near],
        edge_pair=tables.edge_pair[: 2 * num_near],
        edge_sign=tables.edge_sign[: 2 * num_near],
        neighbors=_rows_of(tables.neighbors, is_near, new_pair),
        neighbors_by_element=_rows_of(tables.neighbors_by_element, is_near, new_pair),
        elements=tables.elements,
    )


def _rows_of(
    rows: NeighborRows,
    is_near: Bool[np.ndarray, " pairs"],
    new_pair: Int[np.ndarray, " pairs"],
) -> NeighborRows:
    pair, ends = rows.pair.numpy(), rows.first.numpy()
    is_kept = is_near.take(pair)
    kept = np.flatnonzero(is_kept)
    first = np.searchsorted(kept, ends)
    has_edges = np.flatnonzero(first[1:] > first[:-1])
    of_kept = torch.from_numpy(kept)
    return NeighborRows(
        receiver=rows.receiver[torch.from_numpy(has_edges)],
        first=torch.from_numpy(np.append(first[has_edges], first[-1])),
        sender=rows.sender.index_select(0, of_kept),
        pair=torch.from_numpy(new_pair.take(pair.take(kept))),
        sign=rows.sign.index_select(0, of_kept),
    )
