import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.constraints import FixAtoms

from mace_train.simulation.thermostats import (
    count_degrees_of_freedom,
    set_velocities,
    thermalize,
)

SAMPLING_ERROR = 0.05  # of 4,000 samples that forget each other in 2 steps: 5 sigma


def moving(num_atoms: int = 8) -> Atoms:
    atoms = bulk("Cu", cubic=True) * (num_atoms // 4, 1, 1)
    set_velocities(atoms, 100.0, np.random.default_rng(1))
    return atoms


@pytest.mark.parametrize("name", ["rescaling", "langevin"])
def test_the_kinetic_energy_gets_the_canonical_mean_and_variance(name):
    atoms, rng = moving(), np.random.default_rng(2)
    dof = count_degrees_of_freedom(atoms, name)
    energies = []
    for _ in range(4000):
        thermalize(atoms, name=name, temperature=400.0, steps_to_relax=2.0, rng=rng)
        energies.append(atoms.get_kinetic_energy())
    kT = 400.0 * units.kB
    assert np.mean(energies[100:]) == pytest.approx(0.5 * dof * kT, rel=SAMPLING_ERROR)
    assert np.var(energies[100:]) == pytest.approx(
        0.5 * dof * kT**2, rel=4 * SAMPLING_ERROR
    )


@pytest.mark.parametrize("name", ["rescaling", "langevin"])
def test_the_heat_is_what_the_kinetic_energy_gained(name):
    atoms = moving()
    before = atoms.get_kinetic_energy()
    heat = thermalize(
        atoms,
        name=name,
        temperature=900.0,
        steps_to_relax=3.0,
        rng=np.random.default_rng(0),
    )
    assert heat != 0.0
    assert heat == pytest.approx(atoms.get_kinetic_energy() - before, abs=1e-14)


def test_rescaling_leaves_the_whole_at_rest_and_directions_as_they_were():
    atoms = moving()
    before = atoms.get_momenta()
    thermalize(
        atoms,
        name="rescaling",
        temperature=900.0,
        steps_to_relax=3.0,
        rng=np.random.default_rng(0),
    )
    factors = atoms.get_momenta() / before
    np.testing.assert_allclose(factors, factors[0, 0], rtol=1e-12)
    np.testing.assert_allclose(atoms.get_momenta().sum(axis=0), 0.0, atol=1e-12)


def test_degrees_of_freedom_are_those_that_can_hold_kinetic_energy():
    crystal, molecule = bulk("Cu", cubic=True), Atoms("OH2", positions=np.eye(3))
    assert count_degrees_of_freedom(crystal, "rescaling") == 9
    assert count_degrees_of_freedom(crystal, "langevin") == 12
    assert count_degrees_of_freedom(molecule, "rescaling") == 3
    assert count_degrees_of_freedom(Atoms("N2", [[0, 0, 0], [0, 0, 1.1]]), "rescaling") == 1
    crystal.set_constraint(FixAtoms([0]))
    assert count_degrees_of_freedom(crystal, "rescaling") == 9


def test_atoms_that_cannot_move_are_refused():
    with pytest.raises(
        ValueError, match=r"1 atom\(s\) with 0 constraint\(s\) have no degree"
    ):
        count_degrees_of_freedom(Atoms("Cu", pbc=True, cell=np.eye(3)), "rescaling")


def test_velocities_are_drawn_where_there_are_none_and_the_whole_stands_still():
    molecule = Atoms("OH2", [[0.0, 0.0, 0.1], [0.8, 0.1, 0.6], [-0.7, 0.2, 0.5]])
    set_velocities(molecule, 300.0, np.random.default_rng(0))
    np.testing.assert_allclose(molecule.get_momenta().sum(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(molecule.get_angular_momentum(), 0.0, atol=1e-12)
    assert molecule.get_kinetic_energy() > 0


def test_a_line_of_atoms_gets_velocities_without_rotation():
    line = Atoms("CO2", [[0, 0, 0], [0, 0, 1.16], [0, 0, -1.16]])
    set_velocities(line, 300.0, np.random.default_rng(0))
    np.testing.assert_allclose(line.get_angular_momentum(), 0.0, atol=1e-12)
    assert line.get_kinetic_energy() > 0


def test_velocities_that_atoms_bring_are_kept_less_the_motion_of_the_whole():
    atoms = moving()
    kept = atoms.get_velocities()
    atoms.set_velocities(kept + np.array([0.1, 0.0, 0.0]))
    set_velocities(atoms, 5000.0, np.random.default_rng(0))
    np.testing.assert_allclose(atoms.get_velocities(), kept, atol=1e-14)


def test_atoms_that_only_fly_along_together_have_no_velocities():
    atoms = bulk("Cu", cubic=True)
    atoms.set_velocities(np.full((4, 3), 0.1))
    set_velocities(atoms, 300.0, np.random.default_rng(0))
    assert 0.01 < atoms.get_kinetic_energy() < 1.0


def test_velocities_without_a_temperature_are_refused():
    with pytest.raises(
        ValueError, match="begin with a stage such as 300:1, or set velocities"
    ):
        set_velocities(bulk("Cu", cubic=True), None, np.random.default_rng(0))
