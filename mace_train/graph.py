"""`AtomicGraph`: the one record that all floors share.

Floor 0. Data loaders and the calculator make graphs, the model reads them, and losses and
metrics compare a prediction with the labels a graph carries. A batch is a graph too: its
atoms are the atoms of all its structures in turn.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mace_train.elements import ElementTable
from mace_train.index_tables import IndexTables
from mace_train.movable import Movable
from mace_train.neighbors import neighbor_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms


@dataclass(frozen=True)
class Labels(Movable):
    """Reference values of the structures of a graph, and how much each counts.

    A weight of 0 says that the label is absent: its value is then 0 and never looked at.

    Attributes:
        energy: eV, with the atoms' own energies.
        forces: eV/Å.
        stress: eV/Å^3, positive in tension.
        energy_weight: Weight of the structure's energy in the loss; 0 where absent.
        forces_weight: The same for its forces.
        stress_weight: The same for its stress; 0 unless periodic in three directions.
        frame_weight: Multiplies the penalties of the structure's energy, forces and stress
            in the loss: its own weight times those of its set.
        frame_index: Place of the structure in its data set, to name it in messages.
    """

    energy: Float[Tensor, " graphs"]
    forces: Float[Tensor, "nodes 3"]
    stress: Float[Tensor, "graphs 3 3"]
    energy_weight: Float[Tensor, " graphs"]
    forces_weight: Float[Tensor, " graphs"]
    stress_weight: Float[Tensor, " graphs"]
    frame_weight: Float[Tensor, "graphs 3"]
    frame_index: Int[Tensor, " graphs"]

    @classmethod
    def batch(cls, parts: Sequence[Labels]) -> Labels:
        """Join the labels of structures that follow each other."""
        names = [f.name for f in fields(cls)]
        return cls(**{n: torch.cat([getattr(part, n) for part in parts]) for n in names})


@dataclass(frozen=True)
class AtomicGraph(Movable):
    """Structures as a graph: atoms are nodes, pairs closer than ``r_max`` are edges.

    Attributes:
        positions: Å.
        atomic_numbers: 1..118.
        element_index: Place of each atom's element in the model's `ElementTable`.
        cell: Lattice vectors in rows, Å; zero rows where there is none.
        pbc: Which lattice vectors are periodic.
        edge_index: Row 0 the sender, row 1 the receiver.
        unit_shifts: Whole cell vectors each edge crosses, as floating-point numbers.
        graph_index: Which structure each atom belongs to, ascending.
        head: Which of the model's heads gives each structure's energy.
        labels: Reference values, or None.
        tables: Index tables of the above, or None; the model then makes them.
    """

    positions: Float[Tensor, "nodes 3"]
    atomic_numbers: Int[Tensor, " nodes"]
    element_index: Int[Tensor, " nodes"]
    cell: Float[Tensor, "graphs 3 3"]
    pbc: Bool[Tensor, "graphs 3"]
    edge_index: Int[Tensor, "2 edges"]
    unit_shifts: Float[Tensor, "edges 3"]
    graph_index: Int[Tensor, " nodes"]
    head: Int[Tensor, " graphs"]
    labels: Labels | None = None
    tables: IndexTables | None = None

    @property
    def num_nodes(self) -> int:
        """Number of atoms."""
        return self.positions.shape[0]

    @property
    def num_edges(self) -> int:
        """Number of directed edges."""
        return self.edge_index.shape[1]

    @property
    def num_graphs(self) -> int:
        """Number of structures."""
        return self.cell.shape[0]

    @classmethod
    def from_arrays(
        cls,
        positions: np.ndarray,
        atomic_numbers: np.ndarray,
        *,
        cell: np.ndarray,
        pbc: np.ndarray,
        elements: ElementTable,
        r_max: float,
        dtype: torch.dtype = torch.float64,
        head: int = 0,
        labels: Labels | None = None,
    ) -> AtomicGraph:
        """Build the graph of one structure from arrays.

        Args:
            positions: (nodes, 3), Å.
            atomic_numbers: (nodes,).
            cell: (3, 3), Å, lattice vectors in rows.
            pbc: (3,), which lattice vectors are periodic.
            elements: The model's elements.
            r_max: Cutoff in Å.
            dtype: Floating-point type of the tensors; neighbors are found in float64.
            head: Place of the head in the model's list.
            labels: Reference values of this structure.

        Raises:
            ValueError: If an element is not in ``elements`` or the cell does not span the
                periodic directions.
        """
        neighbors = neighbor_list(positions, cell, pbc, r_max=r_max)
        return cls(
            positions=torch.as_tensor(positions, dtype=dtype),
            atomic_numbers=torch.as_tensor(np.asarray(atomic_numbers, np.int64)),
            element_index=torch.from_numpy(elements.index_of(atomic_numbers)),
            cell=torch.as_tensor(np.asarray(cell, np.float64), dtype=dtype).reshape(
                1, 3, 3
            ),
            pbc=torch.as_tensor(np.asarray(pbc, bool)).reshape(1, 3),
            edge_index=torch.from_numpy(neighbors.edge_index),
            unit_shifts=torch.as_tensor(neighbors.unit_shifts, dtype=dtype),
            graph_index=torch.zeros(len(positions), dtype=torch.int64),
            head=torch.tensor([head]),
            labels=labels,
        )

    @classmethod
    def from_atoms(
        cls,
        atoms: Atoms,
        *,
        elements: ElementTable,
        r_max: float,
        dtype: torch.dtype = torch.float64,
        head: int = 0,
    ) -> AtomicGraph:
        """Build the graph of an ASE structure, without labels; see `from_arrays`."""
        return cls.from_arrays(
            atoms.get_positions(),
            atoms.get_atomic_numbers(),
            cell=np.asarray(atoms.cell.array),
            pbc=atoms.get_pbc(),
            elements=elements,
            r_max=r_max,
            dtype=dtype,
            head=head,
        )

    @classmethod
    def batch(cls, graphs: Sequence[AtomicGraph]) -> AtomicGraph:
        """Join graphs into one whose atoms, edges and structures follow in the given order.

        Raises:
            ValueError: If ``graphs`` is empty, or only some of them carry labels.
        """
        if not graphs:
            raise ValueError("cannot batch an empty list of graphs: use AtomicGraph.empty")
        apart = ("edge_index", "labels", "tables")
        by_rows = [f.name for f in fields(cls) if f.name not in apart]
        joined = {name: torch.cat([getattr(g, name) for g in graphs]) for name in by_rows}
        node_counts = torch.tensor([graph.num_nodes for graph in graphs])
        node_offsets = torch.cumsum(node_counts, 0) - node_counts
        edge_counts = torch.tensor([graph.num_edges for graph in graphs])
        graph_counts = torch.tensor([graph.num_graphs for graph in graphs])
        graph_offsets = torch.cumsum(graph_counts, 0) - graph_counts
        joined["edge_index"] = torch.cat([graph.edge_index for graph in graphs], dim=1)
        joined["edge_index"] += node_offsets.repeat_interleave(edge_counts)
        joined["graph_index"] += graph_offsets.repeat_interleave(node_counts)
        labels = [graph.labels for graph in graphs if graph.labels is not None]
        if labels and len(labels) != len(graphs):
            raise ValueError(
                f"{len(labels)} of {len(graphs)} graphs carry labels: all or none"
            )
        joint_labels = Labels.batch(labels) if labels else None
        return cls(**joined, labels=joint_labels, tables=None)

    def with_tables(self) -> AtomicGraph:
        """The same graph with its index tables, made on the CPU if they are not there."""
        if self.tables is not None:
            return self
        return replace(
            self,
            tables=IndexTables.build(self.edge_index, self.unit_shifts, self.element_index),
        )

    @classmethod
    def empty(cls, dtype: torch.dtype = torch.float64) -> AtomicGraph:
        """A graph of no structures, with labels: what a rank without frames works on."""

        def none(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=dtype)

        index = torch.zeros(0, dtype=torch.int64)
        labels = Labels(
            none(0), none(0, 3), none(0, 3, 3), none(0), none(0), none(0), none(0, 3), index
        )
        return cls(
            positions=none(0, 3),
            atomic_numbers=index,
            element_index=index,
            cell=none(0, 3, 3),
            pbc=torch.zeros(0, 3, dtype=torch.bool),
            edge_index=index.reshape(2, 0),
            unit_shifts=none(0, 3),
            graph_index=index,
            head=index,
            labels=labels,
        )
