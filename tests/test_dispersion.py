import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, graphene, molecule
from ase.units import Bohr, Hartree

from mace_train.dispersion import DispersionD3

dftd3 = pytest.importorskip("dftd3.interface", reason="the dftd3 package is not installed")
pytest.importorskip("torch_dftd", reason="torch-dftd is not installed")

EQUAL = 1e-4  # eV: rounding of the two codes' tables of parameters
CUTOFF, COORDINATION_CUTOFF = 14.0, 12.0  # Å


def ice() -> Atoms:
    """Ice Xc-like: two interpenetrating water lattices, hydrogen-ordered."""
    oxygen = np.array([[0, 0, 0], [0.5, 0.5, 0.5]]) * 3.35
    bond = 0.97 / np.sqrt(3)
    first = np.array([[1, 1, 1], [-1, -1, 1]]) * bond
    positions = np.concatenate([oxygen, *[o + first for o in oxygen]])
    return Atoms("O2H4", positions=positions, cell=[3.35] * 3, pbc=True)


def slab() -> Atoms:
    atoms = fcc111("Cu", (2, 2, 3), vacuum=8.0)
    atoms.rattle(0.1, seed=3)
    return atoms


STRUCTURES = {
    "water dimer": lambda: molecule("H2O") + _moved(molecule("H2O"), [0, 0, 2.9]),
    "ice": ice,
    "NaCl": lambda: bulk("NaCl", "rocksalt", 5.64),
    "silicon": lambda: bulk("Si", "diamond", 5.43),
    "slab": slab,
    "graphene": lambda: graphene(vacuum=7.0),
}


def _moved(atoms: Atoms, by: list[float]) -> Atoms:
    atoms.translate(by)
    return atoms


def _reference(atoms: Atoms) -> tuple[float, np.ndarray]:
    """Energy and forces of the dftd3 package, two-body terms alone."""
    periodic = bool(atoms.pbc.any())
    model = dftd3.DispersionModel(
        atoms.numbers,
        atoms.positions / Bohr,
        atoms.cell.array / Bohr if periodic else None,
        atoms.pbc if periodic else None,
    )
    model.set_realspace_cutoff(CUTOFF / Bohr, 10.0, COORDINATION_CUTOFF / Bohr)
    found = model.get_dispersion(dftd3.RationalDampingParam(method="pbe", atm=False), True)
    return found["energy"] * Hartree, -found["gradient"] * Hartree / Bohr


@pytest.mark.parametrize("name", STRUCTURES)
def test_energy_and_forces_are_those_of_the_dftd3_package(name):
    atoms = STRUCTURES[name]()
    d3 = DispersionD3(cutoff=CUTOFF, coordination_cutoff=COORDINATION_CUTOFF)
    found = d3.compute(atoms)
    energy, forces = _reference(atoms)
    assert energy < -1e-3
    assert abs(found.energy - energy) < EQUAL
    np.testing.assert_allclose(found.forces, forces, atol=EQUAL)


@pytest.mark.parametrize("name", STRUCTURES)
def test_forces_and_stress_are_derivatives_of_the_energy(name):
    atoms = STRUCTURES[name]()
    atoms.rattle(0.02, seed=1)
    d3 = DispersionD3(cutoff=9.0, coordination_cutoff=9.0, smooth_cutoff=True)
    found = d3.compute(atoms)
    step = 1e-4

    def energy(place: int, axis: int, sign: int) -> float:
        moved = atoms.copy()
        moved.positions[place, axis] += sign * step
        return d3.compute(moved).energy

    slope = (energy(0, 2, 1) - energy(0, 2, -1)) / (2 * step)
    assert found.forces[0, 2] == pytest.approx(-slope, abs=1e-6)
    if not atoms.pbc.any():
        assert found.stress is None
        return
    assert found.stress is not None
    for place, (row, column) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        strain = np.zeros((3, 3))
        strain[row, column] += step / 2
        strain[column, row] += step / 2

        def strained(sign: int, strain=strain) -> float:
            copy = atoms.copy()
            copy.set_cell(atoms.cell.array @ (np.eye(3) + sign * strain), scale_atoms=False)
            copy.positions = atoms.positions @ (np.eye(3) + sign * strain)
            return d3.compute(copy).energy

        work = (strained(1) - strained(-1)) / (2 * step)
        assert found.stress[place] * atoms.cell.volume == pytest.approx(work, abs=1e-5)


def test_the_cutoff_of_coordination_numbers_follows_a_short_cutoff():
    alone, both = (
        DispersionD3(cutoff=9.0),
        DispersionD3(cutoff=9.0, coordination_cutoff=9.0),
    )
    assert alone.compute(ice()).energy == both.compute(ice()).energy


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match="dtype=float31 of D3: use float32 or float64"):
        DispersionD3(dtype="float31")


def test_float32_is_close_to_float64():
    exact = DispersionD3(cutoff=9.0, coordination_cutoff=9.0).compute(ice())
    single = DispersionD3(cutoff=9.0, coordination_cutoff=9.0, dtype="float32")
    assert single.compute(ice()).energy == pytest.approx(exact.energy, abs=1e-5)


def test_a_lone_atom_has_no_dispersion():
    found = DispersionD3().compute(Atoms("He"))
    assert found.energy == 0
    assert found.forces.tolist() == [[0, 0, 0]]
    assert found.stress is None


def test_a_cell_without_volume_has_no_stress():
    layer = graphene()
    layer.cell[2] = 0
    assert DispersionD3(cutoff=9.0, coordination_cutoff=9.0).compute(layer).stress is None


def test_an_element_beyond_the_tables_is_named():
    with pytest.raises(ValueError, match=r"no parameters for Am \(atom 1\).*dispersion"):
        DispersionD3().compute(Atoms("HAm", positions=[[0, 0, 0], [0, 0, 2]]))


def test_an_unknown_functional_is_named():
    with pytest.raises(ValueError, match="functional='pbx'"):
        DispersionD3(functional="pbx")


def test_cutoffs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"coordination_cutoff=12.0 Å at most cutoff=8"):
        DispersionD3(cutoff=8.0, coordination_cutoff=12.0)


def test_without_torch_dftd_the_error_tells_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_dftd.nn.dftd3_module", None)
    with pytest.raises(ImportError, match=r"pip install 'mace-train\[d3\]'"):
        DispersionD3()
