"""Frames that are no structures, or labels that no calculation gives, are refused."""

import tracemalloc

import numpy as np
import pytest
from ase import units

from mace_train.data.frame import Frame
from mace_train.data.plausibility import (
    ATOM_ENERGIES_HARTREE,
    CLOSEST_APPROACH,
    all_electron_energy,
    check_geometry,
    check_labels,
    exceeds,
    is_isolated_atom,
)
from mace_train.data.problems import FrameError

SKEWED = np.array([[4.0, 0.5, 0], [-2, 5, 0.3], [1, 1, 6]])
PERIODIC, OPEN, SLAB = (np.array(p) for p in ([True] * 3, [False] * 3, [True, True, False]))


def check(positions, cell=SKEWED, pbc=PERIODIC, numbers=None):
    positions = np.array(positions, dtype=float)
    numbers = np.full(len(positions), 6) if numbers is None else np.array(numbers)
    check_geometry(numbers, positions, cell=np.array(cell, dtype=float), pbc=pbc)


def frame(numbers, energy=None, forces=None):
    numbers = np.array(numbers)
    return Frame(
        atomic_numbers=numbers,
        positions=np.zeros((len(numbers), 3)),
        cell=np.zeros((3, 3)),
        pbc=OPEN,
        energy=energy,
        forces=None if forces is None else np.array(forces, dtype=float),
    )


@pytest.mark.parametrize("pbc", [PERIODIC, OPEN, SLAB])
@pytest.mark.parametrize("distance", [0.0, 0.5 * CLOSEST_APPROACH, 0.99 * CLOSEST_APPROACH])
def test_atoms_on_top_of_each_other_are_refused(pbc, distance):
    direction = np.array([1.0, -2, 2]) / 3
    with pytest.raises(FrameError, match=f"atoms 0 and 2 .from 0. are {distance:.3f} Å"):
        check([[0, 0, 0], [2, 2, 2], distance * direction], pbc=pbc)


@pytest.mark.parametrize("image", [[1, 0, 0], [-3, 2, 5], [0, 1, -1]])
def test_atoms_on_top_of_images_of_each_other_are_refused(image):
    with pytest.raises(FrameError, match=r"are 0\.100 Å apart"):
        check([[0.1, 0, 0], [2, 2, 2], image @ SKEWED])


@pytest.mark.parametrize("pbc", [PERIODIC, OPEN, SLAB])
def test_a_scan_of_a_dimer_may_begin_close(pbc):
    check([[0, 0, 0], [0.35, 0, 0]], cell=np.eye(3) * 50, pbc=pbc)


def test_images_count_only_along_periodic_directions():
    check([[0, 0, 0], SKEWED[2]], pbc=SLAB)
    with pytest.raises(FrameError, match="closer than"):
        check([[0, 0, 0], SKEWED[1]], pbc=SLAB)


@pytest.mark.parametrize("seed", range(20))
def test_the_quick_test_of_distances_agrees_with_all_images(seed):
    generator = np.random.default_rng(seed)
    cell = generator.normal(size=(3, 3)) + 3 * np.eye(3)
    positions = generator.uniform(-1, 2, (7, 3)) @ cell
    shifts = np.stack(np.meshgrid(*[np.arange(-8, 9)] * 3), -1).reshape(-1, 3) @ cell
    vectors = positions[:, None, None] - positions[None, :, None] + shifts
    distances = np.linalg.norm(vectors, axis=-1)[~np.eye(7, dtype=bool)]

    if distances.min() < CLOSEST_APPROACH:
        with pytest.raises(FrameError, match=f"{distances.min():.3f} Å"):
            check(positions, cell=cell)
    else:
        check(positions, cell=cell)


def test_an_atom_on_top_of_its_own_image_is_refused():
    with pytest.raises(FrameError, match=r"lattice vector shorter than 0.2 Å.*0.1 Å"):
        check([[0, 0, 0]], cell=np.diag([3.0, 0.1, 3.0]))


@pytest.mark.parametrize("number", [0, 119, 300])
def test_atoms_of_no_element_are_refused(number):
    with pytest.raises(FrameError, match=rf"of no element .*\b{number}\b"):
        check([[0, 0, 0], [1, 0, 0]], numbers=[1, number])


def test_the_distances_of_very_many_atoms_take_little_memory():
    positions = np.stack(np.meshgrid(*[np.arange(30.0)] * 3), axis=-1).reshape(-1, 3)
    tracemalloc.start()
    check(positions, pbc=OPEN)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e9  # all pairs at once would take 5.8 GB


def test_a_crystal_of_one_atom_is_a_structure():
    check([[0, 0, 0]])


@pytest.mark.parametrize(
    ("cell", "pbc", "message"),
    [
        (np.zeros((3, 3)), PERIODIC, 'say pbc="T T T" but have no Lattice'),
        (np.zeros((3, 3)), SLAB, 'say pbc="T T F" but have no Lattice'),
        (np.diag([4.0, 4, 0]), PERIODIC, "Lattice does not span"),
        ([[4, 0, 0], [8, 0, 0], [0, 0, 4]], PERIODIC, "Lattice does not span"),
        ([[4, 0, 0], [8, 0, 0], [0, 0, 4]], SLAB, "Lattice does not span"),
    ],
)
def test_periodic_directions_need_lattice_vectors(cell, pbc, message):
    with pytest.raises(FrameError, match=message):
        check([[0, 0, 0]], cell=cell, pbc=pbc)


def test_a_slab_needs_no_third_lattice_vector():
    check([[0, 0, 0]], cell=np.diag([4.0, 4, 0]), pbc=SLAB)


def test_what_is_no_structure_is_refused():
    with pytest.raises(FrameError, match="have no atoms"):
        check(np.zeros((0, 3)))
    with pytest.raises(FrameError, match="atoms of no element"):
        check([[0, 0, 0]], numbers=[0])
    with pytest.raises(FrameError, match="positions or cells that are NaN"):
        check([[0, 0, np.nan]])
    with pytest.raises(FrameError, match="positions or cells that are NaN"):
        check([[0, 0, 0]], cell=np.full((3, 3), np.inf))


@pytest.mark.parametrize(
    ("number", "hartree_fock"), [(6, 37.69), (8, 74.81), (14, 288.85), (29, 1638.96)]
)
def test_energies_of_all_electrons_are_those_of_hartree_fock(number, hartree_fock):
    assert ATOM_ENERGIES_HARTREE[number] == pytest.approx(hartree_fock, rel=0.01)


@pytest.mark.parametrize("numbers", [[1, 1], [1] * 6 + [6, 6, 8], [92, 8, 8], [3]])
@pytest.mark.parametrize("bonds", [0.0, -8.0])
def test_energies_of_all_electrons_in_ev_are_possible(numbers, bonds):
    numbers = np.array(numbers)
    energy = -all_electron_energy(numbers) * units.Hartree + bonds * len(numbers)

    check_labels(frame(numbers, energy), max_force=None)


@pytest.mark.parametrize("unit", ["kcal", "kJ"])
def test_energies_of_all_electrons_in_other_units_are_refused(unit):
    numbers = np.array([6, 6, 8, 1, 1, 1, 1, 1, 1])
    energy = (
        -all_electron_energy(numbers) * units.Hartree * units.mol / getattr(units, unit)
    )

    with pytest.raises(FrameError, match=r"not in eV.*data\.units\.energy=kcal/mol"):
        check_labels(frame(numbers, energy), max_force=None)


def test_an_energy_far_above_zero_is_refused():
    with pytest.raises(FrameError, match="more than 1000 eV an atom above zero"):
        check_labels(frame([6, 6], 2001.0), max_force=None)


def test_absurd_forces_are_refused_unless_a_limit_is_given():
    absurd = frame([6, 6], None, [[0, 0, 1], [0, -800, 700]])

    with pytest.raises(FrameError, match=r"1063\.0 eV/Å on atom 1.*data\.max_force"):
        check_labels(absurd, max_force=None)
    check_labels(absurd, max_force=2000.0)


def test_the_largest_forces_of_real_data_pass():
    check_labels(frame([6, 6], None, [[0, 0, 202], [0, 0, -202]]), max_force=None)


def test_a_limit_is_for_single_atoms_not_for_their_sum():
    forces = np.full((100, 3), 5.0)

    assert not exceeds(forces, 8.67)
    assert exceeds(forces, 8.66)


@pytest.mark.parametrize("told", ["IsolatedAtom", "isolated_atom", "ISOLATED_ATOM"])
def test_an_atom_that_is_called_isolated_is(told):
    options = {"cell": np.eye(3) * 5.0, "pbc": PERIODIC}

    assert is_isolated_atom(np.array([6]), config_type=told, **options)
    with pytest.raises(FrameError, match="called isolated atoms but have several"):
        is_isolated_atom(np.array([6, 6]), config_type=told, **options)


@pytest.mark.parametrize(
    ("cell", "pbc", "isolated"),
    [
        (np.zeros((3, 3)), OPEN, True),
        (np.eye(3) * 20, PERIODIC, True),
        (np.eye(3) * 4, PERIODIC, False),
        (np.diag([20.0, 20, 4]), PERIODIC, False),
        (np.diag([20.0, 20, 4]), SLAB, True),
        ([[20, 0, 0], [19, 3, 0], [0, 0, 20]], PERIODIC, False),
    ],
)
def test_an_unnamed_atom_is_isolated_if_its_images_are_far(cell, pbc, isolated):
    cell = np.array(cell, dtype=float)

    assert is_isolated_atom(np.array([6]), cell=cell, pbc=pbc, config_type=None) == isolated


def test_a_molecule_is_no_isolated_atom():
    assert not is_isolated_atom(
        np.array([6, 8]), cell=np.zeros((3, 3)), pbc=OPEN, config_type="bulk"
    )
