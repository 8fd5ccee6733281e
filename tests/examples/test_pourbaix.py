"""Corrections of MP2020, and Pourbaix diagrams of energies that are known."""

import runpy
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from example_runs import EXAMPLES, gates_of, needs

KJ_PER_MOL = units.kJ / units.mol
METALS = {"Cu": -4.1, "Ti": -7.8}  # eV per atom, any
OXYGEN = -4.94796
FORMED = {
    "Cu2O": -168.6,
    "CuO": -157.3,
    "TiO": -519.7,
    "Ti2O3": -1520.9,
    "TiO2": -944.0,
}
"""Measured enthalpies of formation, kJ/mol (CRC Handbook)."""


@pytest.fixture
def oxides(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from structures import oxides

    return oxides


class Measured(Calculator):
    """Uncorrected energies from which MP2020 makes measured enthalpies; no forces."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, *args):
        super().calculate(atoms, *args)
        symbols = list(atoms.symbols)
        metal = next(symbol for symbol in symbols if symbol != "O")
        formula = atoms.symbols.formula.reduce()[0].format("metal")
        units_in_cell = symbols.count(metal) / (2 if "2O" in formula else 1)
        energy = symbols.count(metal) * METALS[metal] + symbols.count("O") * OXYGEN
        energy += units_in_cell * FORMED.get(formula, 0.0) * KJ_PER_MOL
        energy += 0.687 * symbols.count("O")
        self.results = {
            "energy": energy,
            "forces": np.zeros((len(atoms), 3)),
            "stress": np.zeros(6),
        }


def test_crystals_have_the_bonds_and_the_formulas_of_their_phases(oxides):
    bonds = {"Cu": 2.56, "Cu2O": 1.85, "CuO": 1.95, "Ti": 2.90, "TiO": 2.09}
    bonds |= {"Ti2O3": 2.03, "TiO2, rutile": 1.95, "TiO2, anatase": 1.93}
    crystals = oxides.crystals()
    assert set(crystals) == set(bonds)
    for name, atoms in crystals.items():
        formula = atoms.symbols.formula.reduce()[0].format("metal")
        assert formula == name.partition(",")[0]
        large = atoms * (3, 3, 3)
        distances = large.get_all_distances(mic=True)
        shortest = distances[distances > 1e-6].min()
        assert shortest == pytest.approx(bonds[name], abs=0.01)


@pytest.mark.parametrize("formula", ["Cu", "Ti4", "Cu4O2", "Cu4O4", "Ti4O6", "Ti4O8"])
def test_the_correction_is_that_of_the_oxygens_of_an_oxide(oxides, formula):
    pytest.importorskip("pymatgen", reason="needs pymatgen")
    atoms = Atoms(formula)
    count = list(atoms.symbols).count("O")
    assert oxides.correction(atoms) == pytest.approx(-0.687 * count)


def test_own_labels_are_the_teachers_less_the_correction(oxides):
    pytest.importorskip("pymatgen", reason="needs pymatgen")
    atoms = bulk("TiO", "rocksalt", a=4.18)
    forces = np.zeros((2, 3))
    atoms.calc = SinglePointCalculator(atoms, energy=-18.0, forces=forces)
    labelled = oxides.own_labels(atoms)
    assert labelled.get_potential_energy() == pytest.approx(-18.0 + 0.687)
    assert labelled.info["energy_kind"] == "uncorrected"


@pytest.mark.slow
def test_diagrams_of_measured_enthalpies(monkeypatch, tmp_path):
    needs("pymatgen")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(
        "mace_train.MACECalculator", lambda *_, **__: Measured(), raising=False
    )
    model = tmp_path / "m"
    model.touch()
    words = ["pourbaix.py", "--model", str(model), "--output", str(tmp_path), "--quick"]
    monkeypatch.setattr(sys, "argv", words)
    made = runpy.run_path(str(EXAMPLES / "pourbaix.py"), run_name="__main__")
    found = {name: row["value"] for name, row in gates_of(tmp_path).items()}
    for name in ("Cu2O", "CuO", "Ti2O3"):
        value = found[f"{name}: formation energy (kJ/mol)"]
        assert value == pytest.approx(FORMED[name], abs=0.01)
    # Copper is noble in water without oxygen, and dissolves in acid that is oxidizing.
    at = {
        (metal, pH, volt): made["maps"][metal][
            np.argmin(abs(made["VOLTS"][:, 0] - volt)), np.argmin(abs(made["PH"][0] - pH))
        ]
        for metal, pH, volt in [
            ("Cu", 7, -0.5), ("Cu", 1, 0.6), ("Cu", 10, 0.5), ("Ti", 7, 0.0),
            ("Ti", 7, -2.4),
        ]
    }  # fmt: skip
    assert list(at.values())[:3] == ["Cu", "Cu++(aq)", "CuO"]
    assert list(at.values())[3:] == ["TiO2, rutile", "Ti"]
    assert (tmp_path / "pourbaix.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_package_that_is_absent_is_one_line(monkeypatch):
    if find_spec("pymatgen") is not None:
        pytest.skip("pymatgen is installed here")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr(sys, "argv", ["pourbaix.py", "--model", "m"])
    with pytest.raises(SystemExit, match="pip install 'mace-train"):
        runpy.run_path(str(EXAMPLES / "pourbaix.py"), run_name="__main__")
