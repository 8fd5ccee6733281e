"""The examples in their reduced form; those of crystals with a potential that is known."""

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.calculators.tersoff import Tersoff, TersoffParameters
from ase.io import write
from example_runs import gates_of, needs, run

from mace_train import MACECalculator
from mace_train.checkpoints.model_file import save_model

ROOT = Path(__file__).parents[2]


SILICON = TersoffParameters(
    m=3.0, gamma=1.0, lambda3=0.0, c=1.0039e5, d=16.217, h=-0.59825, n=0.78734,
    beta=1.1e-6, lambda2=1.73222, B=471.18, R=2.85, D=0.15, lambda1=2.4799, A=1830.8,
)  # fmt: skip
"""Phys. Rev. B 38, 9902 (1988): a = 5.432 Å, C11 = 143, C12 = 75, C44 = 69 GPa."""


@pytest.fixture
def run_with_tersoff(monkeypatch, tmp_path):
    """Run an example in this process, with Tersoff's silicon in place of the model."""

    def run_script(script: str) -> dict:
        monkeypatch.syspath_prepend(str(ROOT / "examples"))
        monkeypatch.setattr(
            "mace_train.MACECalculator",
            lambda *_, **__: Tersoff({("Si", "Si", "Si"): SILICON}),
            raising=False,
        )
        words = [script, "--model", "m", "--output", str(tmp_path / "out"), "--quick"]
        monkeypatch.setattr(sys, "argv", words)
        runpy.run_path(str(ROOT / "examples" / script), run_name="__main__")
        return gates_of(tmp_path / "out")

    return run_script


@pytest.mark.slow
def test_phonons_of_a_known_potential(run_with_tersoff, tmp_path):
    needs("phonopy")
    found = run_with_tersoff("phonons.py")
    assert found["lattice constant (Å)"]["value"] == pytest.approx(5.432, abs=0.002)
    assert found["acoustic modes at Γ (meV)"]["passed"]
    assert found["imaginary modes (THz)"]["passed"]
    # Tersoff's optical modes are known to be too stiff: 16.0 THz, measured 15.5.
    assert found["optical mode at Γ (THz)"]["value"] == pytest.approx(16.0, abs=0.3)
    assert 15 < found["heat capacity at 298 K (J/mol/K)"]["value"] < 3 * 8.315
    assert (tmp_path / "out" / "phonons.png").stat().st_size > 10_000


@pytest.mark.slow
def test_elastic_constants_of_a_known_potential(run_with_tersoff, tmp_path):
    needs("matcalc")
    found = run_with_tersoff("elastic_constants.py")
    assert found["c11 (GPa)"]["value"] == pytest.approx(143, abs=2)
    assert found["c12 (GPa)"]["value"] == pytest.approx(75, abs=2)
    assert found["c44 (GPa)"]["value"] == pytest.approx(69, abs=2)
    assert (tmp_path / "out" / "elastic_constants.png").stat().st_size > 5_000


@pytest.mark.slow
def test_a_constant_for_each_element_does_not_count_in_the_comparison(tmp_path, small_mace):
    needs("chgnet")
    model = small_mace()
    save_model(tmp_path / "m.safetensors", model, metadata={})
    frames = []
    for seed in range(3):
        atoms = bulk("Si", cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = MACECalculator(model)
        labels = {
            "energy": atoms.get_potential_energy() + 7.0 * len(atoms),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
        }
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    write(tmp_path / "f.xyz", frames, format="extxyz")
    words = ["--model", "m.safetensors", "--frames", "f.xyz", "--output", "out", "--quick"]
    out = run(tmp_path, "chgnet_comparison.py", *words)
    assert out.returncode == 0, out.stderr
    found = gates_of(tmp_path / "out")
    assert found["energy, own model: MAE (meV/atom)"]["value"] < 1e-3
    assert found["forces, own model: MAE (meV/Å)"]["value"] < 1e-3
    assert found["energy, CHGNet: MAE (meV/atom)"]["value"] > 0.1
    assert (tmp_path / "out" / "parity.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_package_that_is_absent_is_one_line(tmp_path):
    missing = [name for name in ("phonopy", "matcalc") if find_spec(name) is None]
    if len(missing) < 2:
        pytest.skip("phonopy and matcalc are installed here")
    for script in ("phonons.py", "elastic_constants.py"):
        out = run(tmp_path, script, "--model", "m")
        assert out.returncode == 1
        assert "pip install 'mace-train[examples]'" in out.stderr
        assert "Traceback" not in out.stderr


@pytest.mark.slow
def test_water_runs_and_its_functions_count_all_pairs(tmp_path, small_mace):
    model = small_mace()
    save_model(tmp_path / "m.safetensors", model, metadata={})
    spacing, start = 3.1, molecule("H2O")
    box = start * (1, 1, 1)
    box.set_cell([spacing] * 3)
    box.set_pbc(True)
    box = box.repeat((4, 4, 4))
    write(tmp_path / "box.xyz", box, format="extxyz")
    words = ["--model", "m.safetensors", "--frames", "box.xyz", "--output", "out"]
    out = run(tmp_path, "water.py", *words, "--quick")
    assert out.returncode == 0, out.stderr
    found = gates_of(tmp_path / "out")
    # A lattice of molecules 3.1 Å apart: all first neighbors there, each bond 0.97 Å.
    peak = found["first O-O peak, from 2.775 Å (Å)"]["value"] + 2.775
    assert peak == pytest.approx(spacing, abs=0.2)
    assert 0.8 < found["longest O-H bond (Å)"]["value"] < 1.3
    assert (tmp_path / "out" / "water.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_proton_path_by_the_model_that_gave_the_labels(tmp_path, small_mace):
    model = small_mace(atomic_numbers=[1, 6, 8])
    save_model(tmp_path / "m.safetensors", model, metadata={})
    frames = []
    for seed in range(4):
        atoms = molecule("HCOOH")  # two oxygens, and a proton between them
        atoms.rattle(0.05, seed=seed)
        atoms.calc = MACECalculator(model)
        labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    write(tmp_path / "f.xyz", frames, format="extxyz")
    words = ["--model", "m.safetensors", "--frames", "f.xyz", "--output", "out", "--quick"]
    out = run(tmp_path, "proton_transfer.py", *words)
    assert out.returncode == 0, out.stderr
    found = gates_of(tmp_path / "out")
    assert found["forces half-way: RMSE (meV/Å)"]["value"] < 1e-3
    assert abs(found["energy half-way, off against other frames (meV)"]["value"]) < 1e-3
    assert (tmp_path / "out" / "proton_transfer.png").stat().st_size > 5_000
