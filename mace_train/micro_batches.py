"""`MicroBatches`: one rank's share of a global batch, in parts that fit into memory.

Floor 0. Loaders deliver shares; training and validation go through their parts one by one
and add up sums, so that no result depends on how a share is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import torch

from mace_train.graph import AtomicGraph, Labels
from mace_train.movable import Movable

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class MicroBatches(Movable):
    """Graphs whose structures together are a rank's share; none at all is a share too.

    Attributes:
        graphs: The parts, each of one structure at least.
    """

    graphs: tuple[AtomicGraph, ...] = ()

    def __iter__(self) -> Iterator[AtomicGraph]:
        return iter(self.graphs)

    def __len__(self) -> int:
        return len(self.graphs)

    @property
    def num_graphs(self) -> int:
        """Number of structures."""
        return sum(graph.num_graphs for graph in self.graphs)

    @property
    def most_edges(self) -> int:
        """Directed edges of the largest part; 0 where there is none."""
        return max((graph.num_edges for graph in self.graphs), default=0)

    @classmethod
    def of(cls, graph: AtomicGraph, *, max_edges: int | None = None) -> MicroBatches:
        """Cut a batch, and make the tables of each part; no structures give no parts."""
        parts = cut(graph, max_edges=max_edges) if graph.num_graphs else ()
        return cls(tuple(part.with_tables() for part in parts))

    def within(self, max_edges: int | None) -> MicroBatches:
        """The same structures in parts of at most so many edges."""
        if max_edges is None or self.most_edges <= max_edges:
            return self
        parts = [part for graph in self.graphs for part in cut(graph, max_edges=max_edges)]
        return MicroBatches(tuple(part.with_tables() for part in parts))


def cut(graph: AtomicGraph, *, max_edges: int | None) -> tuple[AtomicGraph, ...]:
    """Cut a batch between structures into batches of at most ``max_edges`` directed edges.

    A structure with more edges than that is a part of its own. Values are those of the
    batch; its index tables are left out.

    Args:
        graph: A batch of one structure at least.
        max_edges: None cuts nothing.
    """
    if max_edges is None or graph.num_edges <= max_edges or graph.num_graphs == 1:
        return (graph,)
    num_graphs = graph.num_graphs
    num_nodes = torch.bincount(graph.graph_index, minlength=num_graphs)
    edge_graph = graph.graph_index[graph.edge_index[1]]
    num_edges = torch.bincount(edge_graph, minlength=num_graphs).tolist()
    node_ends = [0, *torch.cumsum(num_nodes, 0).tolist()]
    edge_ends = [0, *torch.cumsum(torch.tensor(num_edges), 0).tolist()]
    parts, first, load = [], 0, 0
    for place, edges in enumerate([*num_edges, max_edges + 1]):
        if place > first and load + edges > max_edges:
            parts.append(_between(graph, first, place, node_ends, edge_ends))
            first, load = place, 0
        load += edges
    return tuple(parts)


def _between(
    graph: AtomicGraph, first: int, last: int, node_ends: list[int], edge_ends: list[int]
) -> AtomicGraph:
    """Structures ``first`` to ``last - 1`` of a batch, whose ends are given."""
    rows = {
        "graphs": slice(first, last),
        "nodes": slice(node_ends[first], node_ends[last]),
        "edges": slice(edge_ends[first], edge_ends[last]),
    }
    taken = {name: getattr(graph, name)[rows[axis]] for name, axis in _AXES.items()}
    labels = graph.labels
    return AtomicGraph(
        **taken,
        edge_index=graph.edge_index[:, rows["edges"]] - node_ends[first],
        graph_index=graph.graph_index[rows["nodes"]] - first,
        labels=labels
        and replace(
            labels,
            **{
                field.name: getattr(labels, field.name)[
                    rows["nodes" if field.name == "forces" else "graphs"]
                ]
                for field in fields(Labels)
            },
        ),
    )


_AXES = {
    "positions": "nodes",
    "atomic_numbers": "nodes",
    "element_index": "nodes",
    "cell": "graphs",
    "pbc": "graphs",
    "unit_shifts": "edges",
    "head": "graphs",
}
