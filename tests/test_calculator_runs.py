"""`MACECalculator` in use: runs, paths of images, copies in other processes, dispersion."""

import copy
import pickle
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.io.trajectory import Trajectory
from ase.md.nptberendsen import NPTBerendsen
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import FIRE

from mace_train.calculator import MACECalculator
from mace_train.checkpoints.model_file import save_model
from mace_train.dispersion import DispersionD3

DTYPES = ("float32", "float64")


def quartz() -> Atoms:
    """Silicon with two oxygen atoms, 8 atoms, warm."""
    atoms = bulk("Si", cubic=True)
    atoms.numbers[[2, 5]] = 8
    atoms.rattle(0.05, seed=4)
    momenta = np.random.default_rng(0).normal(0, 1, (8, 3))
    atoms.set_momenta(momenta * np.sqrt(900 * units.kB * atoms.get_masses())[:, None])
    return atoms


def nve(atoms: Atoms, steps: int) -> None:
    VelocityVerlet(atoms, timestep=2 * units.fs).run(steps)


def npt(atoms: Atoms, steps: int) -> None:
    NPTBerendsen(
        atoms,
        timestep=2 * units.fs,
        temperature_K=900,
        taut=50 * units.fs,
        pressure_au=2 * units.GPa,
        taup=60 * units.fs,
        compressibility_au=0.02 / units.GPa,
    ).run(steps)


def state(atoms: Atoms) -> dict[str, np.ndarray]:
    return {
        "positions": atoms.get_positions(),
        "cell": atoms.cell.array.copy(),
        "velocities": atoms.get_velocities(),
        "forces": atoms.get_forces(),
        "stress": atoms.get_stress(),
    }


def assert_same(first: dict, second: dict) -> None:
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("run", [nve, npt])
def test_a_run_with_a_skin_is_bit_for_bit_the_run_without(run, dtype, small_mace):
    """Edges have an order of their own, so sums do not know when the last search was."""
    steps, found, searches = 25, [], []
    for skin in (0.0, 0.4):
        atoms = quartz()
        atoms.calc = MACECalculator(small_mace(), dtype=dtype, skin=skin)
        run(atoms, steps)
        found.append(state(atoms))
        searches.append(atoms.calc.num_searches)
    assert np.abs(found[0]["positions"] - quartz().positions).max() > 0.2
    if run is npt:
        assert np.abs(found[0]["cell"] - quartz().cell.array).max() > 1e-3
    assert searches[0] > steps > 3 * searches[1] > 3
    assert_same(*found)


def test_a_run_that_goes_on_is_bit_for_bit_the_run_that_was_not_stopped(
    small_mace, tmp_path
):
    whole = quartz()
    whole.calc = MACECalculator(small_mace())
    nve(whole, 30)
    first = quartz()
    first.calc = MACECalculator(small_mace())
    nve(first, 13)
    with Trajectory(tmp_path / "run.traj", "w", first) as file:
        file.write()
    with Trajectory(tmp_path / "run.traj") as file:
        second = file[-1]
    second.calc = MACECalculator(small_mace())
    nve(second, 17)
    assert_same(state(whole), state(second))


@pytest.mark.parametrize("dtype", DTYPES)
def test_structures_in_turn_have_the_results_of_a_fresh_calculator(dtype, small_mace):
    model = small_mace()
    shared = MACECalculator(model, dtype=dtype)
    silicon = quartz()
    slab = fcc111("Si", (2, 2, 2), a=5.0, vacuum=5.0)
    frames = [silicon, molecule("H2O"), slab, silicon[:3], Atoms("O"), silicon.repeat(2)]
    for atoms in frames * 2:
        fresh = MACECalculator(model, dtype=dtype).get_forces(atoms)
        np.testing.assert_array_equal(shared.get_forces(atoms), fresh)
        assert not shared.calculation_required(atoms, ["energy", "forces", "energies"])
        assert shared.calculation_required(silicon[1:], ["energy"])


def band(model, num_images: int, *, shared: bool) -> NEB:
    """A hydrogen atom on its way past an oxygen atom."""
    start = Atoms("OH2", [[0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]])
    end = start.copy()
    end.positions[2] = [0, -1.0, 0.2]
    images = [start.copy() for _ in range(num_images - 1)] + [end]
    calculator = MACECalculator(model)
    for image in images:
        image.calc = calculator if shared else copy.deepcopy(calculator)
    path = NEB(images, allow_shared_calculator=shared, method="improvedtangent")
    path.interpolate()
    return path


def test_images_of_a_path_may_share_a_calculator_or_have_copies(small_mace):
    forces = []
    for shared in (True, False):
        path = band(small_mace(), 5, shared=shared)
        FIRE(path, logfile=None).run(fmax=0.01, steps=5)
        forces.append(path.get_forces())
    np.testing.assert_array_equal(*forces)
    assert np.abs(forces[0]).max() > 1e-3


@pytest.mark.parametrize(
    "dispersion", [False, {"cutoff": 8.0, "coordination_cutoff": 8.0}], ids=["no", "D3"]
)
def test_copies_have_the_same_results(dispersion, small_mace):
    atoms = quartz()
    calculator = MACECalculator([small_mace(), small_mace()], dispersion=dispersion)
    forces = calculator.get_forces(atoms)
    for again in (copy.deepcopy(calculator), pickle.loads(pickle.dumps(calculator))):
        np.testing.assert_array_equal(again.results["forces"], forces)
        again.reset()
        np.testing.assert_array_equal(again.get_forces(atoms), forces)
    atoms.calc = calculator
    again = pickle.loads(pickle.dumps(atoms))
    again.positions[0, 0] += 0.1
    calculator.get_forces(atoms)
    assert np.abs(again.get_forces() - forces).max() > 1e-3


@pytest.mark.slow
def test_a_calculator_works_in_other_processes(small_mace):
    calculator = MACECalculator(small_mace())
    frames = [quartz(), molecule("H2O"), quartz()[:4]]
    sys.modules["__main__"].__spec__ = None  # pytest's own main is not to be run again
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(calculator.get_potential_energy, frames))
    expected = [calculator.get_potential_energy(atoms) for atoms in frames]
    assert found == expected


@pytest.mark.parametrize("arguments", [True, {"cutoff": 12.0, "coordination_cutoff": 8.0}])
def test_dispersion_is_added_to_all_but_node_energies(arguments, small_mace):
    atoms = quartz()
    plain = MACECalculator(small_mace())
    with_d3 = MACECalculator(small_mace(), dispersion=arguments)
    added = DispersionD3(**({} if arguments is True else arguments)).compute(atoms)
    for calculator in (plain, with_d3):
        calculator.get_stress(atoms)
    assert added.energy < -0.1
    first, second = plain.results, with_d3.results
    assert second["energy"] == pytest.approx(first["energy"] + added.energy, abs=1e-12)
    assert second["free_energy"] == second["energy"]
    np.testing.assert_array_equal(second["forces"], first["forces"] + added.forces)
    np.testing.assert_array_equal(second["stress"], first["stress"] + added.stress)
    np.testing.assert_array_equal(second["energies"], first["energies"])


def test_dispersion_is_a_part_of_the_hessian(small_mace, water):
    water.calc = MACECalculator(small_mace(), dispersion=True)
    hessian = water.calc.get_hessian(water)
    column = []
    for step in (1e-3, -1e-3):
        moved = water.copy()
        moved.positions[1, 2] += step
        column.append(water.calc.get_forces(moved).ravel())
    expected = (column[1] - column[0]) / 2e-3
    np.testing.assert_allclose(hessian[:, 5], expected, rtol=0, atol=1e-5)
    plain = MACECalculator(small_mace()).get_hessian(water)
    assert np.abs(hessian - plain).max() > 5e-4


def test_dispersion_without_its_package_says_what_to_install(small_mace, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_dftd.dftd3_xc_params", None)
    with pytest.raises(ImportError, match=r"pip install 'mace-train\[d3\]'"):
        MACECalculator(small_mace(), dispersion=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_examples_of_the_documentation_run(small_mace, tmp_path, monkeypatch):
    page = Path(__file__).parents[1] / "docs" / "calculator.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) > 7
    monkeypatch.chdir(tmp_path)
    energies = [-1.0, -3.0, -2.0, -4.0]
    model = small_mace(atomic_numbers=[1, 8, 11, 17], atomic_energies=energies)
    for place in (".", "runs/a", "runs/b"):
        Path(place).mkdir(parents=True, exist_ok=True)
        save_model(Path(place) / "model.safetensors", model, metadata={})
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    assert names["forces"].shape == (8, 3)
    assert names["scalars"].shape == (3, 8)
