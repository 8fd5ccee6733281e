"""Frameworks: known cells and places of CO2, and a screen predicted in one batch."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from ase.io import read, write
from example_runs import EXAMPLES, gates_of, run

from mace_train import MACECalculator
from mace_train.checkpoints.model_file import save_model

SHARED = Path(__file__).parents[3] / "shared" / "data"
HEXAGONAL = [[1, -1, 0], [0, 1, -1], [1, 1, 1]]  # obverse


@pytest.fixture
def mofs(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import structures.mofs

    return structures.mofs


@pytest.fixture
def open_metal():
    """A metal with five oxygens 2 Å away; the sixth place, along z, is open."""
    places = [[2, 0, 0], [-2, 0, 0], [0, 2, 0], [0, -2, 0], [0, 0, -2]]
    return Atoms("MgO5", [[0, 0, 0], *places], cell=[9, 10, 11], pbc=True)


def test_the_primitive_cell_of_a_hexagonal_one(mofs):
    vectors = 4.0 * np.eye(3) + 0.9  # rhombohedral
    small = Atoms("SiOH", vectors[[0, 1, 2]] * 0.3, cell=vectors, pbc=True)
    small.rattle(0.2, seed=0)
    hexagonal = make_supercell(small, HEXAGONAL)
    hexagonal.wrap()
    found = mofs.primitive(hexagonal)
    assert len(hexagonal) == 9
    assert sorted(found.symbols) == sorted(small.symbols)
    assert found.get_volume() == pytest.approx(small.get_volume())
    order = np.argsort(found.numbers), np.argsort(small.numbers)
    distances = found[order[0]].get_all_distances(mic=True)
    assert distances == pytest.approx(small[order[1]].get_all_distances(mic=True))


def test_co2_stands_at_the_open_side_of_a_metal(mofs, open_metal):
    straight = mofs.co2_at_metal(open_metal, 0, 2.4, 0.0)
    assert straight.symbols[-3:].get_chemical_formula() == "CO2"
    assert straight.positions[-3] == pytest.approx([0, 0, 2.4])
    assert straight.get_angle(0, 6, 7, mic=True) == pytest.approx(180)
    tilted = mofs.co2_at_metal(open_metal, 0, 2.4, 50.0)
    assert tilted.get_angle(0, 6, 7, mic=True) == pytest.approx(130)
    assert tilted.get_distances(7, [6, 8]) == pytest.approx([mofs.CO_BOND] * 2)


def test_co2_anywhere_keeps_its_distance_across_faces(mofs, open_metal):
    rng = np.random.default_rng(0)
    for _ in range(5):
        placed = mofs.co2_anywhere(open_metal, 2.5, rng)
        distances = placed.get_all_distances(mic=True)
        assert distances[-3:, :-3].min() > 2.5
        assert distances[7, [6, 8]] == pytest.approx([mofs.CO_BOND] * 2)


def test_snapshots_are_thermal_and_apart(mofs):
    start = bulk("Cu", cubic=True)
    frames = mofs.snapshots(start, EMT(), 300.0, 4)
    assert len(frames) == 4
    moved = [np.abs(frame.positions - start.positions).max() for frame in frames]
    assert 0.02 < max(moved) < 0.6
    assert not np.allclose(frames[0].positions, frames[1].positions, atol=0.01)


def test_mg_mof_74_has_five_oxygens_at_every_metal(mofs):
    if not (SHARED / "apps" / "Zn-MOF-74.cif").is_file():
        pytest.skip("needs ../shared/data/apps/Zn-MOF-74.cif")
    atoms = mofs.mg_mof_74(SHARED)
    assert atoms.get_chemical_formula() == "C24H6Mg6O18"
    distances = atoms.get_all_distances(mic=True)
    is_near = (distances < 2.5) & (distances > 0)
    for metal in np.flatnonzero(atoms.symbols == "Mg"):
        assert atoms.symbols[is_near[metal]].get_chemical_formula() == "O5"


@pytest.mark.slow
def test_a_screen_in_one_batch_has_the_energies_of_single_structures(tmp_path, small_mace):
    model = small_mace()
    save_model(tmp_path / "m.safetensors", model, metadata={})
    (tmp_path / "apps").mkdir()
    crystal = bulk("SiO", "zincblende", a=4.9, cubic=True)
    write(tmp_path / "apps" / "CALF20.cif", crystal)
    words = ["--model", "m.safetensors", "--data-dir", ".", "--output", "out", "--quick"]
    out = run(tmp_path, "mofs.py", *words)
    assert out.returncode == 0, out.stderr
    found = gates_of(tmp_path / "out")
    assert found["structures"]["value"] == 2
    assert found["structures without an energy"]["passed"]
    assert found["energy, batch against one alone (meV/atom)"]["passed"]
    calculator = MACECalculator(model)
    predicted = read(tmp_path / "out" / "model" / "predictions.extxyz", ":")
    for number, frame in enumerate(predicted):
        path = tmp_path / "out" / "structures" / f"CALF20_{number:02d}.cif"
        energy = calculator.get_potential_energy(read(path))
        assert frame.info["predicted_energy"] == pytest.approx(energy, abs=1e-3)
    assert predicted[0].get_volume() != pytest.approx(predicted[1].get_volume(), rel=1e-3)


@pytest.mark.slow
def test_a_folder_without_the_frameworks_is_one_line(tmp_path):
    out = run(tmp_path, "mofs.py", "--model", "m", "--data-dir", "nowhere", "--quick")
    assert out.returncode == 1
    assert "nowhere/apps/CALF20.cif" in out.stderr
    assert "Traceback" not in out.stderr
