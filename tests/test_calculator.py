import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from tiny_models import SMALL

from mace_train.calculator import MACECalculator
from mace_train.checkpoints.model_file import load_model, save_model
from mace_train.model.mace import MACE

STEP = 1e-4  # Å, and strain: central differences are good to STEP^2
TOLERANCE = 1e-6  # eV/Å and eV/Å^3
ARGUMENTS = SMALL | {
    "pair_repulsion": True,
    "atomic_numbers": [1, 6, 8, 13, 14],
    "avg_num_neighbors": 6.0,
}


@pytest.fixture
def model() -> MACE:
    """Random weights, with forces of order one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = MACE(
            **ARGUMENTS,
            atomic_energies=[-13.6, -1028.0, -2041.0, -3.5, -100.25],
            scale=3.0,
            shift=0.2,
        )
    return model.double()


@pytest.fixture
def crystal(model) -> Atoms:
    atoms = bulk("Si", "diamond", 5.43, cubic=True)
    atoms.rattle(0.15, seed=1)
    atoms.numbers[2] = 8
    shear = np.array([[0, 0.2, 0], [0, 0, 0.1], [0.3, 0, 0]])
    atoms.set_cell(atoms.cell.array + shear, scale_atoms=True)
    atoms.calc = MACECalculator(model)
    return atoms


@pytest.fixture
def slab(model) -> Atoms:
    atoms = fcc111("Al", (2, 2, 2), vacuum=6.0)
    atoms.rattle(0.1, seed=2)
    atoms.calc = MACECalculator(model)
    return atoms


@pytest.fixture
def wire(model) -> Atoms:
    """Periodic along a vector that is no axis, in a box with room around it."""
    atoms = Atoms("SiOSiH", [[0, 0, 0], [1.2, 1.0, 0.1], [2.4, 0.2, 0.3], [3.4, 1.0, 0]])
    atoms.set_cell([[4.2, 0.3, 0.2], [0, 9, 0], [0, 1, 8]])
    atoms.pbc = (True, False, False)
    atoms.calc = MACECalculator(model)
    return atoms


@pytest.fixture
def ethanol(model) -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.calc = MACECalculator(model)
    return atoms


@pytest.mark.parametrize("name", ["crystal", "slab", "ethanol"])
def test_forces_are_the_negative_derivative_of_the_energy(name, request):
    atoms = request.getfixturevalue(name)
    forces = atoms.get_forces()
    assert np.abs(forces).max() > 1e-2
    for atom, axis in ((0, 0), (1, 1), (2, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.positions[atom, axis] += sign * STEP
            energies.append(moved.get_potential_energy())
        slope = (energies[0] - energies[1]) / (2 * STEP)
        assert forces[atom, axis] == pytest.approx(-slope, abs=TOLERANCE)


@pytest.mark.parametrize("name", ["crystal", "slab"])
def test_stress_is_the_derivative_by_strain_over_the_volume(name, request):
    atoms = request.getfixturevalue(name)
    stress = atoms.get_stress(voigt=False)
    assert np.abs(stress).max() > 1e-3
    for row, column in ((0, 0), (1, 2), (0, 2), (0, 1), (2, 2)):
        larger, smaller = strained_energies(atoms, row, column)
        slope = (larger - smaller) / (2 * STEP) / atoms.get_volume()
        assert stress[row, column] == pytest.approx(slope, abs=TOLERANCE)


def test_stress_is_given_in_voigt_order(crystal):
    full, voigt = crystal.get_stress(voigt=False), crystal.get_stress()
    expected = [full[0, 0], full[1, 1], full[2, 2], full[1, 2], full[0, 2], full[0, 1]]
    np.testing.assert_array_equal(voigt, expected)


def test_node_energies_sum_to_the_energy_and_free_energy_is_energy(crystal):
    energy = crystal.get_potential_energy()
    assert crystal.get_potential_energies().sum() == pytest.approx(energy, abs=1e-9)
    assert crystal.get_potential_energy(force_consistent=True) == energy


def test_a_lone_atom_has_its_own_energy_and_no_force(model):
    atoms = Atoms("O", calculator=MACECalculator(model))
    prediction = atoms.get_potential_energy()
    pair = Atoms("O2", [[0, 0, 0], [0, 0, 50]], calculator=MACECalculator(model))
    assert pair.get_potential_energy() == pytest.approx(2 * prediction, abs=1e-9)
    np.testing.assert_array_equal(atoms.get_forces(), np.zeros((1, 3)))


def strained_energies(atoms, row, column):
    strain = np.zeros((3, 3))
    strain[row, column] += STEP / 2
    strain[column, row] += STEP / 2
    for sign in (1, -1):
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ (np.eye(3) + sign * strain), scale_atoms=True)
        strained.calc = atoms.calc
        yield strained.get_potential_energy()


@pytest.mark.parametrize("name", ["crystal", "slab", "wire"])
def test_stress_and_forces_are_what_finite_differences_of_ase_give(name, request):
    atoms = request.getfixturevalue(name)
    forces = calculate_numerical_forces(atoms, eps=STEP, iatoms=[0, 3])
    np.testing.assert_allclose(atoms.get_forces()[[0, 3]], forces, rtol=0, atol=TOLERANCE)
    stress = atoms.get_stress()
    assert np.abs(stress).max() > 1e-4
    expected = calculate_numerical_stress(atoms, eps=STEP)
    np.testing.assert_allclose(stress, expected, rtol=0, atol=TOLERANCE)


def test_the_stress_of_a_slab_counts_the_volume_of_its_cell(slab):
    stress = slab.get_stress()
    slab.cell[2, 2] *= 2
    np.testing.assert_allclose(slab.get_stress(), stress / 2, rtol=1e-12)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (molecule("CH3CH2OH"), r"pbc=\[False, False, False\] nothing is periodic.*set pbc"),
        (molecule("CH3CH2OH", cell=[9] * 3), "C2H6O is not defined.*nothing is periodic"),
        (Atoms(), "stress of no atoms is not defined"),
        (
            Atoms("Al", cell=[3, 3, 0], pbc=(1, 1, 0)),
            r"False\] its cell .* has no volume.*give",
        ),
    ],
    ids=["molecule", "molecule in a box", "nothing", "layer"],
)
def test_a_stress_that_is_not_defined_is_refused_but_not_forces(model, atoms, message):
    atoms.calc = MACECalculator(model)
    for _ in range(2):
        with pytest.raises(PropertyNotImplementedError, match=message):
            atoms.get_stress()
        assert atoms.get_forces().shape == (len(atoms), 3)
        assert "stress" not in atoms.calc.results


@pytest.mark.parametrize(
    "change",
    [
        lambda atoms: atoms.positions.__setitem__((0, 0), atoms.positions[0, 0] + 0.1),
        lambda atoms: atoms.set_cell(atoms.cell.array * 1.02),
        lambda atoms: atoms.set_pbc((True, True, False)),
        lambda atoms: atoms.numbers.__setitem__(0, 8),
        lambda atoms: atoms.append("O"),
    ],
    ids=["positions", "cell", "pbc", "numbers", "one atom more"],
)
def test_any_change_of_the_structure_is_computed_anew(crystal, change):
    before = crystal.get_potential_energy()
    change(crystal)
    fresh = crystal.copy()
    fresh.calc = MACECalculator(crystal.calc.model)
    assert crystal.get_potential_energy() == fresh.get_potential_energy()
    assert crystal.get_potential_energy() != before
    np.testing.assert_array_equal(crystal.get_forces(), fresh.get_forces())


def test_nothing_is_computed_twice_for_the_same_structure(crystal, monkeypatch):
    calls = []
    forward = MACE.forward
    monkeypatch.setattr(
        MACE, "forward", lambda *a, **k: calls.append(k) or forward(*a, **k)
    )
    crystal.get_forces()
    crystal.get_stress()
    crystal.get_potential_energy()
    assert len(calls) == 1


def test_energy_alone_takes_no_derivative(crystal):
    energy = crystal.get_potential_energy()
    assert "forces" not in crystal.calc.results
    crystal.get_forces()
    assert crystal.get_potential_energy() == energy


def test_the_same_structure_gives_bit_for_bit_the_same_forces(crystal, tmp_path):
    save_model(tmp_path / "m.safetensors", crystal.calc.model, metadata={})
    found = []
    for _ in range(2):
        again = crystal.copy()
        again.calc = MACECalculator(tmp_path / "m.safetensors")
        found.append((again.get_forces(), again.get_stress(), again.get_potential_energy()))
    for first, second in zip(*found):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(found[0][0], crystal.get_forces(), rtol=0, atol=1e-12)


def test_dtype_is_that_of_the_file_unless_another_is_asked_for(model, crystal, tmp_path):
    energy = crystal.get_potential_energy()
    save_model(tmp_path / "m.safetensors", model, metadata={})
    single = crystal.copy()
    single.calc = MACECalculator(str(tmp_path / "m.safetensors"), dtype="float32")
    assert single.get_potential_energy() == pytest.approx(energy, abs=1e-2)
    assert single.get_potential_energy() != energy
    assert single.get_forces().dtype == np.float64
    assert next(single.calc.model.parameters()).dtype == torch.float32
    same = MACECalculator(tmp_path / "m.safetensors")
    assert next(same.model.parameters()).dtype == torch.float64
    with pytest.raises(ValueError, match="use float32 or float64"):
        MACECalculator(tmp_path / "m.safetensors", dtype="float16")


def test_an_element_that_the_model_does_not_know_is_named(crystal):
    crystal.numbers[0] = 79
    known = "which has 5 elements: H C O Al Si. Its atoms are number 0$"
    with pytest.raises(ValueError, match=f"element Au is not known to the model, {known}"):
        crystal.get_potential_energy()
    many = Atoms("PtO" * 30, calculator=crystal.calc)
    with pytest.raises(ValueError, match=r"number 0, 2, 4, .*, 18 and 20 more"):
        many.get_potential_energy()
    for number in (0, 200):
        with pytest.raises(ValueError, match=r"element .* is not known .* number 1$"):
            crystal.calc.get_potential_energy(Atoms([8, number], [[0, 0, 0], [0, 0, 2]]))


def test_a_cell_that_does_not_span_the_periodic_directions_is_refused(ethanol):
    ethanol.pbc = True
    with pytest.raises(ValueError, match="does not span"):
        ethanol.get_potential_energy()


def test_a_position_that_is_not_finite_is_named(ethanol):
    ethanol.get_forces()
    ethanol.positions[4, 1] = np.nan
    with pytest.raises(ValueError, match=r"position of atom 4 is \[.*nan.*must be finite"):
        ethanol.get_forces()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_atoms_on_top_of_each_other_are_named(model, dtype):
    calculator = MACECalculator(model, dtype=dtype)
    atoms = molecule("CH3CH2OH", calculator=calculator)
    atoms.positions[4] = atoms.positions[2]
    message = r"C2H6O is not finite .*nearest atoms are 2 \(O\) and 4 \(H\), 0 Å apart"
    with pytest.raises(ValueError, match=message):
        atoms.get_forces()
    atoms.positions[4, 0] += 0.02
    assert np.isfinite(atoms.get_forces()).all()


@pytest.mark.parametrize("pbc", [False, True])
def test_huge_cells_and_distances_leave_atoms_as_they_are(model, pbc):
    calculator = MACECalculator(model)
    expected = molecule("H2O", calculator=calculator).get_forces()
    far = molecule("H2O") + molecule("H2O")
    far.positions[3:] += [3e6, 0, 0]
    far.set_cell([1e8, 20, 30])
    far.pbc = pbc
    far.calc = calculator
    np.testing.assert_allclose(far.get_forces()[:3], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(far.get_forces()[3:], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", [None, [3, 4, 5]])
def test_a_structure_without_atoms_has_no_energy(model, cell):
    atoms = Atoms(cell=cell, pbc=cell is not None, calculator=MACECalculator(model))
    assert atoms.get_potential_energy() == 0
    assert atoms.get_forces().shape == (0, 3)
    if cell:
        np.testing.assert_array_equal(atoms.get_stress(), np.zeros(6))


def test_energies_are_summed_in_double_precision(model):
    """2,000 oxygen atoms of -2 keV: a sum in float32 would be wrong by tenths of an eV."""
    atoms = Atoms("O2000", np.arange(6000).reshape(-1, 3) * 9.0)
    lone = Atoms("O", calculator=MACECalculator(model, dtype="float32"))
    energy = lone.get_potential_energy()
    atoms.calc = lone.calc
    assert atoms.get_potential_energy() == pytest.approx(2000 * energy, rel=1e-13)


def test_heads_are_told_apart_by_name(ethanol):
    two = MACE(
        **ARGUMENTS,
        atomic_energies=[[0.0] * 5, [1.0] * 5],
        scale=[1.0, 2.0],
        shift=[0.0, 0.0],
        heads=["pbe", "r2scan"],
    ).double()
    energies = {}
    for head in ("pbe", "r2scan"):
        ethanol.calc = MACECalculator(two, head=head)
        energies[head] = ethanol.get_potential_energy()
    assert energies["pbe"] != pytest.approx(energies["r2scan"])
    with pytest.raises(ValueError, match=r"several heads: give head= one of \['pbe', 'r2s"):
        MACECalculator(two)
    with pytest.raises(ValueError, match=r"no head 'hse': give head= one of \['pbe'"):
        MACECalculator(two, head="hse")


def test_a_model_that_is_given_keeps_what_it_trains(model, ethanol):
    ethanol.get_forces()
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_file_that_is_no_model_is_named(tmp_path):
    (tmp_path / "x.xyz").write_text("3\nnot a model\n")
    with pytest.raises(ValueError, match=r"x\.xyz: it is not a model file"):
        MACECalculator(tmp_path / "x.xyz")


def test_energy_is_conserved_in_molecular_dynamics(ethanol):
    ethanol.set_velocities(np.random.default_rng(0).normal(0, 0.01, (len(ethanol), 3)))
    start = ethanol.get_total_energy()
    VelocityVerlet(ethanol, timestep=0.2 * units.fs).run(50)
    assert ethanol.get_total_energy() == pytest.approx(start, abs=2e-3)


def test_positions_and_cell_relax_together(crystal):
    relaxed = BFGS(FrechetCellFilter(crystal), logfile=None)
    before = crystal.get_potential_energy()
    relaxed.run(fmax=0.05, steps=15)
    assert crystal.get_potential_energy() < before


def test_a_calculator_loads_neither_lightning_nor_hdf5(model, tmp_path):
    save_model(tmp_path / "m.safetensors", model, metadata={})
    program = f"""
import sys
from ase.build import molecule
from mace_train import MACECalculator
atoms = molecule("H2O", calculator=MACECalculator({str(tmp_path / "m.safetensors")!r}))
atoms.get_forces()
foreign = {{"lightning", "h5py", "hydra", "omegaconf", "wandb", "torch_ema"}}
floors = {{"mace_train.data", "mace_train.training", "mace_train.cli"}}
print([name for name in sys.modules if name.split(".")[0] in foreign or name in floors])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    assert done.stdout.strip() == "[]"


def test_the_model_of_a_path_needs_no_gradients_of_its_weights(model, tmp_path):
    save_model(tmp_path / "m.safetensors", model, metadata={})
    calculator = MACECalculator(tmp_path / "m.safetensors")
    assert not any(parameter.requires_grad for parameter in calculator.model.parameters())
    assert not calculator.model.training
    assert load_model(tmp_path / "m.safetensors").hyperparameters == model.hyperparameters
