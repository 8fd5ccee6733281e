"""CO2 in Mg-MOF-74, reduced: a potential without forces, and a random model."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.calculator import Calculator, all_changes
from example_runs import EXAMPLES, gates_of, run

from mace_train.checkpoints.model_file import save_model

SHARED = Path(__file__).parents[3] / "shared" / "data"


class NoForces(Calculator):
    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012 - ASE's name

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        forces = np.zeros((len(self.atoms), 3))
        self.results = {"energy": 0.0, "forces": forces, "stress": np.zeros(6)}


@pytest.fixture
def _frameworks():
    if not (SHARED / "apps" / "Zn-MOF-74.cif").is_file():
        pytest.skip("needs ../shared/data/apps/Zn-MOF-74.cif")


@pytest.mark.slow
@pytest.mark.usefixtures("_frameworks")
def test_atoms_that_fly_freely_stay_where_they_were_for_ten_steps(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr("mace_train.MACECalculator", lambda *_, **__: NoForces())
    words = ["co2_in_mof.py", "--model", "m", "--data-dir", str(SHARED), "--quick"]
    monkeypatch.setattr(sys, "argv", [*words, "--output", str(tmp_path / "out")])
    runpy.run_path(str(EXAMPLES / "co2_in_mof.py"), run_name="__main__")
    found = gates_of(tmp_path / "out")
    # CO2 begins 2.7 Å from Mg with bonds of 1.178 Å; 10 fs at 300 K move atoms by 0.05 Å.
    assert found["nearest Mg-O(CO2): mean (Å)"]["value"] == pytest.approx(2.7, abs=0.1)
    assert 1.05 < found["C-O of CO2: shortest (Å)"]["value"] < 1.2
    assert 1.15 < found["C-O of CO2: longest (Å)"]["value"] < 1.3
    assert found["no Mg-O(CO2) in 2.2 to 2.8 Å (% of frames)"]["passed"]
    assert found["frames with atoms nearer than 0.7 of their radii"]["value"] == 0
    assert 1 < found["framework's bonds: longest over its first length"]["value"] < 1.2
    # 54 atoms' own kinetic energies: the standard deviation of their temperature is 33 K.
    assert abs(found["mean temperature, from 300 K"]["value"]) < 100
    assert (tmp_path / "out" / "co2_in_mof.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.usefixtures("_frameworks")
def test_it_runs_with_a_model_without_dispersion(tmp_path, small_mace):
    elements = {"atomic_numbers": [1, 6, 8, 12], "atomic_energies": [0.0] * 4}
    save_model(tmp_path / "m.safetensors", small_mace(**elements), metadata={})
    words = ["--model", "m.safetensors", "--data-dir", str(SHARED), "--output", "out"]
    out = run(tmp_path, "co2_in_mof.py", *words, "--quick")
    assert out.returncode == 0, out.stderr
    assert len(gates_of(tmp_path / "out")) == 9


@pytest.mark.slow
def test_a_folder_without_the_frameworks_is_one_line(tmp_path):
    out = run(tmp_path, "co2_in_mof.py", "--model", "m", "--data-dir", "nowhere", "--quick")
    assert out.returncode == 1
    assert "nowhere/apps/Zn-MOF-74.cif" in out.stderr
    assert "Traceback" not in out.stderr
