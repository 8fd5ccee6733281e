import sys
from pathlib import Path

import numpy as np
import pytest

from mace_train.physics.dimer_curves import DimerCurve
from mace_train.physics.dimers import (
    check_dimers,
    find_holes,
    force_flips,
    scan_pairs,
    tortuosity,
)
from mace_train.physics.potential import LeftOutError

sys.path.insert(0, str(Path(__file__).parent))
from broken_potentials import (
    AU,
    CU,
    Good,
    Hollow,
    NotANumber,
    passes,
    potential_of,
    setting_of,
)

R = np.linspace(0.5, 6.0, 111)


def curve(energies, pair=(CU, CU)):
    return DimerCurve(pair, R, energies, -np.gradient(energies, R))


def morse(length, *, depth=2.0):
    wave = np.exp(-1.8 * (R - length))
    return depth * (wave**2 - 2 * wave)


def test_a_potential_with_walls_passes_and_one_with_a_hole_fails():
    assert passes(check_dimers, Good())
    assert not passes(check_dimers, Hollow())
    assert not passes(check_dimers, NotANumber())


def test_pair_distance_and_wall_of_a_hole_are_said():
    findings = check_dimers(setting_of(Hollow(), pairs=((CU, CU),)))
    (hole,) = find_holes(scan_pairs(potential_of(Hollow()), [(CU, CU)], step=0.05))
    energies = np.array([Hollow().pair(np.array([r]), 0.95 * 2 * 1.32)[0][0] for r in R])
    top = int(np.argmax(energies))
    assert hole.distance == pytest.approx(R[top])
    assert hole.wall == pytest.approx(energies[top] - energies[top:].min())
    assert f"from {hole.distance:.2f} to 0.50 Å, behind a wall of" in findings.notes[0]
    assert findings.notes[0].startswith("Cu-Cu: the energy falls by")
    assert findings.curves[0].marked == hole.distance
    assert f"Cu-Cu at {hole.distance:.2f} Å" in findings.measurements[0].where


@pytest.mark.parametrize(
    ("length", "pair"),
    [(0.74, (1, 1)), (1.10, (7, 7)), (1.13, (6, 8)), (1.41, (9, 9)), (1.68, (24, 24))],
    ids=["H2", "N2", "CO", "F2", "Cr2"],
)
def test_bonds_of_real_molecules_are_no_holes(length, pair):
    assert not find_holes([curve(morse(length, depth=5.0), pair)])


def test_repulsion_without_bond_is_no_hole():
    assert not find_holes([curve(50 * np.exp(-3 * R), (18, 18))])


def test_a_dip_before_the_wall_has_its_bottom_before_it():
    wall = 100 * np.exp(-2 * R)
    dip = wall - 20.0 * np.exp(-(((R - 1.0) / 0.2) ** 2))
    (hole,) = find_holes([curve(dip)])
    assert 0.9 < hole.bottom < 1.2 < hole.distance


def test_attraction_all_the_way_has_no_wall():
    (hole,) = find_holes([curve(-5 / R)])
    assert hole.wall == 0
    assert "no wall" in str(hole)


def test_a_bond_shorter_than_any_known_is_a_hole():
    assert find_holes([curve(morse(1.2))])  # Cu-Cu: 2.22 Å


def test_a_dip_that_holds_no_atom_does_not_count():
    wall = 100 * np.exp(-2 * R)
    assert not find_holes([curve(wall - 0.05 * np.exp(-(((R - 1.5) / 0.1) ** 2)))])
    assert find_holes([curve(wall - 20.0 * np.exp(-(((R - 1.0) / 0.2) ** 2)))])


def test_an_outer_shoulder_of_a_bond_is_no_hole():
    """As that of Cr2: the energy falls, then rests, then falls on to the bond."""
    shoulder = -0.5 / (1 + np.exp(8 * (R - 2.8)))
    assert not find_holes([curve(morse(1.9) + shoulder, (24, 24))])


def test_one_infinite_energy_is_a_hole_there():
    energies = morse(2.4)
    energies[4] = np.inf
    (hole,) = find_holes([curve(energies)])
    assert hole.distance == pytest.approx(R[4])


def test_force_flips_and_tortuosity_of_a_bond_are_one_and_of_waves_are_more():
    bond = curve(morse(2.4))
    assert force_flips(bond) == 1
    assert tortuosity(bond) == pytest.approx(1.0)
    waves = curve(np.cos(4 * R))
    assert force_flips(waves) == 7
    assert tortuosity(waves) > 5


def test_means_are_held_against_the_limits_and_the_worst_pair_is_named():
    class Wavy(Good):
        def pair(self, r, length):
            energy, slope = super().pair(r, length)
            only_gold = np.where(np.isclose(length, 0.95 * 2 * 1.36), 1.0, 0.0)
            return energy + only_gold * np.sin(9 * r), slope + 9 * only_gold * np.cos(9 * r)

    pairs = ((AU, AU),)
    named = {
        m.quantity: m for m in check_dimers(setting_of(Wavy(), pairs=pairs)).measurements
    }
    assert not named["force flips"].is_right
    named = {m.quantity: m for m in check_dimers(setting_of(Wavy())).measurements}
    assert "largest: Au-Au" in named["force flips"].where


def test_no_pair_is_left_out():
    with pytest.raises(LeftOutError, match="no pair"):
        check_dimers(setting_of(Good(), pairs=()))
