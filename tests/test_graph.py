"""`AtomicGraph`: building, batching, moving."""

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from mace_train.elements import ElementTable
from mace_train.graph import AtomicGraph, Labels
from mace_train.index_tables import IndexTables

ELEMENTS = ElementTable((1, 8, 14))


def _labels(num_nodes: int, frame: int) -> Labels:
    return Labels(
        energy=torch.tensor([1.5 * frame]),
        forces=torch.full((num_nodes, 3), 0.1 * frame),
        stress=torch.eye(3).reshape(1, 3, 3) * frame,
        energy_weight=torch.ones(1),
        forces_weight=torch.ones(1),
        stress_weight=torch.zeros(1),
        frame_weight=torch.full((1, 3), 0.5 * frame),
        frame_index=torch.tensor([frame]),
    )


def _graph(atoms, labels=None, **options) -> AtomicGraph:
    return AtomicGraph.from_arrays(
        atoms.positions,
        atoms.numbers,
        cell=atoms.cell.array,
        pbc=atoms.pbc,
        elements=ELEMENTS,
        r_max=4.0,
        labels=labels,
        **options,
    )


def _lengths(graph: AtomicGraph) -> torch.Tensor:
    sender, receiver = graph.edge_index
    cell = graph.cell[graph.graph_index[sender]]
    shifts = torch.einsum("ei,eij->ej", graph.unit_shifts, cell)
    return (graph.positions[receiver] - graph.positions[sender] + shifts).norm(dim=1)


def test_a_batch_holds_the_structures_in_turn_and_no_edges_between_them():
    silicon, water = bulk("Si"), molecule("H2O")
    parts = [_graph(silicon), _graph(water), _graph(silicon)]
    batch = AtomicGraph.batch(parts)
    assert (batch.num_graphs, batch.num_nodes) == (3, 7)
    assert batch.graph_index.tolist() == [0, 0, 1, 1, 1, 2, 2]
    sender, receiver = batch.edge_index
    assert torch.equal(batch.graph_index[sender], batch.graph_index[receiver])
    assert torch.allclose(_lengths(batch), torch.cat([_lengths(part) for part in parts]))
    assert parts[1].edge_index.max() == 2  # the parts are left as they were


def test_labels_are_batched_with_their_structures():
    parts = [_graph(bulk("Si"), _labels(2, 1)), _graph(molecule("H2O"), _labels(3, 2))]
    labels = AtomicGraph.batch(parts).labels
    assert labels is not None
    assert labels.energy.tolist() == [1.5, 3.0]
    assert labels.forces.shape == (5, 3)
    assert labels.frame_weight.tolist() == [[0.5] * 3, [1.0] * 3]
    assert labels.frame_index.tolist() == [1, 2]


def test_a_batch_of_labelled_and_unlabelled_structures_is_refused():
    with pytest.raises(ValueError, match="1 of 2 graphs carry labels"):
        AtomicGraph.batch([_graph(bulk("Si"), _labels(2, 1)), _graph(bulk("Si"))])
    with pytest.raises(ValueError, match="empty"):
        AtomicGraph.batch([])


def test_to_changes_floating_point_fields_only_and_reaches_the_labels():
    graph = _graph(bulk("Si"), _labels(2, 1)).to(dtype=torch.float32)
    assert graph.positions.dtype == graph.unit_shifts.dtype == torch.float32
    assert graph.labels is not None
    assert graph.labels.energy.dtype == torch.float32
    assert graph.edge_index.dtype == graph.head.dtype == torch.int64
    assert graph.pbc.dtype == torch.bool


def test_the_empty_graph_batches_with_others_and_adds_nothing():
    one = _graph(bulk("Si"), _labels(2, 1), dtype=torch.float32)
    both = AtomicGraph.batch([AtomicGraph.empty(torch.float32), one])
    assert both.num_graphs == 1
    assert torch.equal(both.edge_index, one.edge_index)


def test_from_atoms_keeps_the_physical_cell_of_a_slab():
    slab = bulk("Si", cubic=True)
    slab.pbc = (True, True, False)
    graph = AtomicGraph.from_atoms(slab, elements=ELEMENTS, r_max=4.0)
    assert np.allclose(graph.cell[0].numpy(), slab.cell.array)
    assert graph.pbc.tolist() == [[True, True, False]]


def test_an_element_that_the_model_does_not_know_is_named():
    with pytest.raises(ValueError, match="element Cu is not known"):
        _graph(bulk("Cu"))


def test_tables_are_made_once_and_are_those_of_the_edges():
    graph = _graph(bulk("Si"))
    assert graph.tables is None
    with_tables = graph.with_tables()
    assert with_tables.with_tables() is with_tables
    again = with_tables.tables
    assert again is not None
    assert len(again.pair_edge) == graph.num_edges // 2
    expected = IndexTables.build(graph.edge_index, graph.unit_shifts, graph.element_index)
    assert torch.equal(again.neighbors.sender, expected.neighbors.sender)
    assert graph.tables is None  # the graph is left as it was


def test_tables_move_with_their_graph():
    tables = _graph(bulk("Si")).with_tables().to("meta", torch.float32).tables
    assert tables is not None
    assert tables.neighbors.sign.device.type == tables.elements.slot.device.type == "meta"
    assert tables.neighbors.sign.dtype == tables.edge_sign.dtype == torch.float32
    assert tables.pair_edge.dtype == torch.int64


def test_a_batch_does_not_inherit_the_tables_of_its_parts():
    """They number the atoms of one structure; those of the batch are made for the batch."""
    parts = [_graph(bulk("Si")).with_tables(), _graph(molecule("H2O")).with_tables()]
    batch = AtomicGraph.batch(parts)
    assert batch.tables is None
    tables = batch.with_tables().tables
    assert tables is not None
    assert tables.elements.counts == (2, 1, 2)
    assert int(tables.neighbors.sender.max()) == 4


def test_the_empty_graph_has_empty_tables():
    tables = AtomicGraph.empty().with_tables().tables
    assert tables is not None
    assert tables.neighbors.first.tolist() == [0]
