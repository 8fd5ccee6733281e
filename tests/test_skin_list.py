"""`SkinList` gives the graph that a search gives, and searches only when it has to."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from mace_train.elements import ElementTable
from mace_train.graph import AtomicGraph
from mace_train.index_tables import IndexTables
from mace_train.movable import Movable
from mace_train.neighbors import neighbor_list
from mace_train.skin_list import SkinList

R_MAX = 4.0
ELEMENTS = ElementTable((1, 6, 8, 14))
PERIODIC = [(1, 1, 1), (1, 1, 0), (0, 1, 0), (1, 0, 1), (0, 0, 0)]


def skin_list(skin: float = 0.6, **changes) -> SkinList:
    return SkinList(elements=ELEMENTS, r_max=R_MAX, skin=skin, **changes)


def graph_of(made: SkinList, atoms: Atoms) -> AtomicGraph:
    return made.graph(
        atoms.get_positions(), atoms.numbers, cell=atoms.cell.array, pbc=atoms.pbc
    )


def edges(edge_index, unit_shifts) -> set[tuple[int, ...]]:
    columns = [*np.asarray(edge_index), *np.asarray(unit_shifts).T]
    return set(map(tuple, np.array(columns, dtype=int).T.tolist()))


def assert_is_the_graph_of(graph: AtomicGraph, atoms: Atoms) -> None:
    expected = neighbor_list(atoms.positions, atoms.cell.array, atoms.pbc, r_max=R_MAX)
    assert graph.num_edges == expected.edge_index.shape[1]
    assert edges(graph.edge_index, graph.unit_shifts) == edges(
        expected.edge_index, expected.unit_shifts
    )
    assert graph.atomic_numbers.tolist() == atoms.numbers.tolist()
    assert ELEMENTS.index_of(atoms.numbers).tolist() == graph.element_index.tolist()
    assert torch.equal(graph.edge_index[:, ::2], graph.edge_index.flip(0)[:, 1::2])
    assert torch.equal(graph.unit_shifts[::2], -graph.unit_shifts[1::2])


def assert_equal(first, second, name: str = "graph") -> None:
    """Two records hold the same numbers, bit for bit."""
    if isinstance(first, Movable):
        for field in fields(first):
            values = (getattr(record, field.name) for record in (first, second))
            assert_equal(*values, f"{name}.{field.name}")
    elif isinstance(first, torch.Tensor):
        assert first.dtype == second.dtype, name
        assert torch.equal(first, second), name
    else:
        assert first == second, name


def some_atoms(seed: int = 0, pbc=(1, 1, 1), number: int = 12) -> Atoms:
    """Atoms of three elements in a skewed cell, some of them outside of it."""
    rng = np.random.default_rng(seed)
    cell = rng.normal(0, 0.8, (3, 3)) + 6 * np.eye(3)
    positions = rng.uniform(-3, 9, (number, 3))
    return Atoms(rng.choice([1, 8, 14], number), positions, cell=cell, pbc=pbc)


def walked(atoms: Atoms, seed: int, steps: int, *, step: float, strain: float = 0.0):
    """A random walk of all atoms, in a cell that changes and rotates; wrapped at times."""
    rng = np.random.default_rng(seed)
    for number in range(steps):
        atoms.set_cell(
            atoms.cell.array @ (np.eye(3) + rng.normal(0, strain, (3, 3))), scale_atoms=True
        )
        atoms.positions += rng.normal(0, step, atoms.positions.shape)
        if number % 7 == 3:
            atoms.wrap()
        yield atoms


@pytest.mark.parametrize("strain", [0.0, 0.004])
@pytest.mark.parametrize("pbc", PERIODIC, ids=str)
def test_edges_are_those_of_a_search_along_a_random_walk(pbc, strain):
    for seed in range(2):
        made, steps = skin_list(), 40
        for atoms in walked(some_atoms(seed, pbc), seed, steps, step=0.03, strain=strain):
            assert_is_the_graph_of(graph_of(made, atoms), atoms)
        assert 1 < made.num_searches < steps / 2


@pytest.mark.parametrize(("skin", "searches"), [(0.0, 25), (0.05, 25), (3.0, 2)])
def test_any_skin_will_do(skin, searches):
    made = skin_list(skin)
    for atoms in walked(some_atoms(4, (1, 1, 0)), 1, 25, step=0.04, strain=0.002):
        assert_is_the_graph_of(graph_of(made, atoms), atoms)
    assert made.num_searches <= searches
    assert skin > 0 or made.num_searches == 25


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("pbc", [(1, 1, 1), (0, 1, 1), (0, 0, 0)], ids=str)
def test_a_graph_does_not_depend_on_when_the_last_search_was(pbc, dtype):
    made = skin_list(dtype=dtype)
    for atoms in walked(some_atoms(7, pbc), 2, 30, step=0.03, strain=0.002):
        followed = graph_of(made, atoms)
        for skin in (0.0, 0.3):
            assert_equal(followed, graph_of(skin_list(skin, dtype=dtype), atoms))
    assert made.num_searches < 15


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_index_tables_are_those_that_are_built_from_the_edges(dtype):
    made = skin_list(dtype=dtype)
    for atoms in walked(some_atoms(8, number=30), 3, 12, step=0.03):
        graph = graph_of(made, atoms)
        built = IndexTables.build(graph.edge_index, graph.unit_shifts, graph.element_index)
        assert_equal(graph.tables, built, "tables")
    assert made.num_searches < 6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_graph_is_that_of_the_same_arrays(dtype):
    atoms = some_atoms(3, (1, 0, 1))
    graph = graph_of(skin_list(dtype=dtype), atoms)
    plain = AtomicGraph.from_atoms(atoms, elements=ELEMENTS, r_max=R_MAX, dtype=dtype)
    for name in ("atomic_numbers", "element_index", "cell", "pbc", "graph_index", "head"):
        assert_equal(getattr(graph, name), getattr(plain, name), name)
    offset = graph.positions - plain.positions
    torch.testing.assert_close(offset, offset[:1].expand_as(offset))
    if dtype == torch.float64:
        assert torch.equal(graph.positions, plain.positions)


def test_single_precision_is_kept_far_from_the_origin():
    water, far = molecule("H2O"), molecule("H2O")
    far.positions += [3e4, -5e5, 8e4]
    made = skin_list(dtype=torch.float32)
    near, remote = graph_of(made, water), graph_of(made, far)
    torch.testing.assert_close(near.positions, remote.positions, rtol=0, atol=1e-6)


def near_crystal(pbc=True) -> Atoms:
    atoms = bulk("Si", cubic=True).repeat(2)
    atoms.rattle(0.05, seed=1)
    atoms.pbc = pbc
    return atoms


def turned(atoms: Atoms) -> None:
    atoms.rotate(77, (1, 2, 3), rotate_cell=True)


def half_a_skin(atoms: Atoms) -> None:
    rng = np.random.default_rng(0)
    directions = rng.normal(size=atoms.positions.shape)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    atoms.positions += 0.2999 * directions


def one_atom_a_skin(atoms: Atoms) -> None:
    atoms.positions[3] += [0.59, 0, 0]


def across_the_cell(atoms: Atoms) -> None:
    atoms.positions[::3] += atoms.cell.array[0] - 2 * atoms.cell.array[2]


def strained(amount: float):
    return lambda atoms: atoms.set_cell(atoms.cell.array * (1 + amount), scale_atoms=True)


@pytest.mark.parametrize(
    "change",
    [
        half_a_skin,
        one_atom_a_skin,
        turned,
        across_the_cell,
        lambda atoms: atoms.wrap(),
        lambda atoms: atoms.translate([123.4, 0, -55.0]),
        strained(0.1),
        strained(-0.12),
    ],
    ids=[
        "half_a_skin",
        "one_atom",
        "turned",
        "across",
        "wrapped",
        "translated",
        "larger",
        "smaller",
    ],
)
def test_what_brings_no_pair_nearer_by_the_skin_is_not_searched(change):
    made, atoms = skin_list(), near_crystal()
    atoms.positions[0] -= 0.4  # outside of the cell, so that there is something to wrap
    graph_of(made, atoms)
    change(atoms)
    assert_is_the_graph_of(graph_of(made, atoms), atoms)
    assert made.num_searches == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda atoms: atoms.positions.__setitem__(3, atoms.positions[3] + [0.61, 0, 0]),
        strained(-0.14),
        lambda atoms: atoms.set_cell(atoms.cell.array * 0.95),  # atoms stay: they overlap
        lambda atoms: atoms.set_pbc((True, True, False)),
        lambda atoms: atoms.numbers.__setitem__(0, 8),
        lambda atoms: atoms.append("O"),
        lambda atoms: atoms.__delitem__(5),
        lambda atoms: atoms.positions.__setitem__([0, 9], atoms.positions[[9, 0]]),
    ],
    ids=["atom", "smaller", "cell", "pbc", "number", "more", "fewer", "permuted"],
)
def test_what_may_bring_new_pairs_is_searched(change):
    made, atoms = skin_list(), near_crystal()
    graph_of(made, atoms)
    change(atoms)
    assert_is_the_graph_of(graph_of(made, atoms), atoms)
    assert made.num_searches == 2


def test_two_atoms_that_meet_are_seen_in_time():
    """Both come from just beyond the skin, where the criterion has nothing to spare."""
    made = skin_list()
    atoms = Atoms("O2", [[0, 0, 0], [R_MAX + 0.6 + 1e-5, 0, 0]])
    assert graph_of(made, atoms).num_edges == 0
    for _ in range(70):
        atoms.positions[0, 0] += 0.005
        atoms.positions[1, 0] -= 0.005
        assert_is_the_graph_of(graph_of(made, atoms), atoms)
    assert graph_of(made, atoms).num_edges == 2
    assert made.num_searches == 2


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 0, 1)], ids=str)
def test_a_cell_that_shrinks_under_its_atoms_is_seen_in_time(pbc):
    """One atom and its images: nothing but the cell says how far these are."""
    made = skin_list()
    lengths = np.linspace(R_MAX + 0.605, R_MAX - 0.1, 60)
    for length in lengths:
        atoms = Atoms("O", cell=[length] * 3, pbc=pbc)
        assert_is_the_graph_of(graph_of(made, atoms), atoms)
    assert graph_of(made, atoms).num_edges == 2 * sum(pbc)
    assert made.num_searches == 2


def test_open_directions_may_have_any_lattice_vector():
    made = skin_list()
    slab = near_crystal((True, True, False))
    for third in ([0, 0, 30.0], [0, 0, 0], [3.0, 1.0, 0.1]):
        slab.cell[2] = third
        assert_is_the_graph_of(graph_of(made, slab), slab)
    assert made.num_searches == 1


@pytest.mark.parametrize(
    "atoms",
    [Atoms(), Atoms(cell=[3, 3, 3], pbc=True), Atoms("O"), molecule("CH3CH2OH")],
    ids=["nothing", "empty cell", "one atom", "molecule"],
)
def test_few_atoms_need_no_cell(atoms):
    made = skin_list()
    for _ in range(2):
        assert_is_the_graph_of(graph_of(made, atoms), atoms)
    assert made.num_searches == 1


def test_structures_in_turn_are_told_apart():
    made = skin_list()
    frames = [some_atoms(0), some_atoms(1), some_atoms(0, (1, 0, 0)), molecule("H2O")]
    for atoms in frames * 2:
        assert_is_the_graph_of(graph_of(made, atoms), atoms)


def test_a_graph_stays_as_it_was():
    """What is given away is not changed by later steps, nor by the caller's arrays."""
    made, atoms = skin_list(), near_crystal()
    positions = atoms.get_positions()
    arguments = {"cell": atoms.cell.array, "pbc": atoms.pbc}
    graph = made.graph(positions, atoms.numbers, **arguments)
    edge_index, places = graph.edge_index.clone(), graph.positions.clone()
    positions += 0.1 * np.random.default_rng(0).normal(size=positions.shape)
    made.graph(positions, atoms.numbers, **arguments)
    assert torch.equal(graph.edge_index, edge_index)
    assert torch.equal(graph.positions, places)


def test_numbers_that_are_not_finite_are_named():
    made, atoms = skin_list(), near_crystal()
    graph_of(made, atoms)
    atoms.positions[7, 1] = np.nan
    with pytest.raises(ValueError, match=r"position of atom 7 is \[.*nan.*must be finite"):
        graph_of(made, atoms)
    atoms = near_crystal()
    atoms.cell[1, 1] = np.inf
    with pytest.raises(ValueError, match=r"cell is .*inf.*must be finite"):
        graph_of(made, atoms)


def test_a_cell_that_collapses_is_refused():
    made, atoms = skin_list(), near_crystal()
    graph_of(made, atoms)
    atoms.cell[2] = atoms.cell[1]
    with pytest.raises(ValueError, match="does not span"):
        graph_of(made, atoms)


@pytest.mark.parametrize("skin", [-0.1, np.nan, np.inf])
def test_a_skin_is_a_length(skin):
    with pytest.raises(ValueError, match=f"skin={skin} must be a length in Å, 0 or more"):
        skin_list(skin)
