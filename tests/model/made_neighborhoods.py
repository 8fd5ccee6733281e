"""Small neighborhoods of every awkward kind: shuffled, one-sided, with images, without."""

from dataclasses import replace

import torch

from mace_train.graph import AtomicGraph
from mace_train.model.neighborhoods import Neighborhoods

NUM_ELEMENTS = 4  # of the model's table; the atoms are of elements 3, 0 and 2


def some_graph(*, dtype=torch.float64) -> AtomicGraph:
    """Six atoms and shuffled edges: some without a reverse, images, an atom apart."""
    pairs = [(0, 1), (1, 2), (0, 2), (3, 1), (3, 3), (0, 4), (2, 1), (0, 0), (1, 1), (4, 1)]
    shifts = [(k % 3 - 1, k, 0) for k in range(len(pairs))]
    edges = [(*pair, *shift) for pair, shift in zip(pairs, shifts)]
    edges += [(b, a, -x, -y, -z) for a, b, x, y, z in edges[:-2]]
    table = torch.tensor(edges)[torch.randperm(len(edges))]
    return replace(
        lone_atoms([3, 0, 0, 3, 2, 0], dtype=dtype),
        edge_index=table[:, :2].T.contiguous(),
        unit_shifts=table[:, 2:].to(dtype),
    )


def lone_atoms(element_index: list[int], *, dtype=torch.float64) -> AtomicGraph:
    """Atoms without edges."""
    num_nodes = len(element_index)
    return AtomicGraph(
        positions=torch.randn(num_nodes, 3, dtype=dtype),
        atomic_numbers=torch.tensor(element_index, dtype=torch.int64) + 1,
        element_index=torch.tensor(element_index, dtype=torch.int64),
        cell=torch.eye(3, dtype=dtype)[None] * 2,
        pbc=torch.ones(1, 3, dtype=torch.bool),
        edge_index=torch.zeros(2, 0, dtype=torch.int64),
        unit_shifts=torch.zeros(0, 3, dtype=dtype),
        graph_index=torch.zeros(num_nodes, dtype=torch.int64),
        head=torch.tensor([0]),
    )


def some_neighborhoods() -> Neighborhoods:
    return Neighborhoods.of(some_graph())


GRAPHS = {
    "some": some_graph,
    "no edges": lambda: lone_atoms([3, 0, 0]),
    "no atoms": lambda: lone_atoms([]),
    "one element": lambda: lone_atoms([1] * 20),
}
