"""Ice: frames that move whole molecules, and lattice energies that obey their laws."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.io import write
from example_runs import EXAMPLES, gates_of, run

from mace_train.checkpoints.model_file import save_model

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def ice(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import structures.ice

    return structures.ice


@pytest.fixture
def lattice():
    """Four molecules 3.1 Å apart, some of them across the faces; hydrogens first."""
    atoms = molecule("H2O", cell=[3.1] * 3, pbc=True).repeat((2, 2, 1))
    atoms.wrap()
    return atoms[np.argsort(atoms.numbers, kind="stable")]


def write_data(folder: Path, phases: dict) -> None:
    (folder / "apps").mkdir()
    for phase, atoms in phases.items():
        atoms.info["phase"] = phase
    write(folder / "apps" / "ice13.extxyz", list(phases.values()))
    lines = [",".join(["method", *phases])]
    lines += [
        ",".join([name, *("-60.0" for _ in phases)])
        for name in ("DMC", "PBE", "PBE-D3(BJ)")
    ]
    path = folder / "apps" / "ice13_lattice_energies.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def bonds(ice, atoms) -> np.ndarray:
    return np.array(
        [atoms.get_distances(o, hs, mic=True) for o, *hs in ice.molecules(atoms)]
    )


def test_each_hydrogen_has_one_oxygen(ice, lattice):
    found = ice.molecules(lattice)
    assert sorted(found.ravel()) == list(range(len(lattice)))
    assert bonds(ice, lattice) == pytest.approx(0.9686, abs=1e-3)


def test_molecules_move_and_bonds_hardly_change(ice, lattice):
    rng = np.random.default_rng(0)
    copies = [ice.shaken(lattice, rng) for _ in range(20)]
    lengths = np.array([bonds(ice, atoms) for atoms in copies])
    moved = [atoms.positions - lattice.positions for atoms in copies]
    assert np.std(lengths) < 0.03
    assert np.std(moved) > np.std(lengths)
    assert lattice.cell.lengths() == pytest.approx([6.2, 6.2, 3.1])  # itself untouched
    assert all(abs(a.get_volume() / lattice.get_volume() - 1) > 1e-6 for a in copies)


def test_phases_and_published_energies_have_the_same_names(ice):
    if not (SHARED / "apps" / "ice13.extxyz").is_file():
        pytest.skip(f"no {SHARED}/apps/ice13.extxyz")
    cells = ice.polymorphs(SHARED)
    known = ice.published(SHARED, cells)
    assert len(cells) == 13
    assert all(
        sum(atoms.numbers == 1) == 2 * sum(atoms.numbers == 8) for atoms in cells.values()
    )
    # Dispersion binds, and dense phases more than ice Ih.
    added = known["PBE-D3(BJ)"] - known["PBE"]
    assert (added < 0).all()
    assert added[list(cells).index("VIII")] < added[list(cells).index("Ih")]


@pytest.mark.slow
def test_what_is_missing_is_one_line(tmp_path, lattice):
    out = run(tmp_path, "ice.py", "--data-dir", str(tmp_path), "--model", "m.safetensors")
    assert out.returncode == 1
    assert "ice13.extxyz not found" in out.stderr
    write_data(tmp_path, {"Ih": lattice})
    out = run(
        tmp_path,
        "ice.py",
        "--data-dir",
        str(tmp_path),
        "--model",
        "m.safetensors",
        "--quick",
    )
    assert out.returncode == 1
    assert "m.safetensors" in out.stderr
    assert "Traceback" not in out.stderr


@pytest.mark.slow
def test_lattice_energies_know_neither_the_size_of_the_cell_nor_the_atoms_own(
    tmp_path, lattice, small_mace
):
    write_data(tmp_path, {"XI": lattice.repeat((1, 1, 2)), "Ih": lattice})
    of_ih = []
    for energies in ([-3.1, -7.2], [-13.3, -430.0]):
        model = small_mace(atomic_numbers=[1, 8], atomic_energies=energies)
        save_model(tmp_path / "m.safetensors", model, metadata={})
        words = ["--model", "m.safetensors", "--output", "out", "--quick"]
        out = run(tmp_path, "ice.py", "--data-dir", str(tmp_path), *words)
        assert out.returncode == 0, out.stderr
        found = {name: row["value"] for name, row in gates_of(tmp_path / "out").items()}
        assert found["relative to Ih, against PBE: MAE, kJ/mol"] < 1e-5
        assert found["absolute, less PBE: std, kJ/mol"] < 1e-5
        of_ih.append(found["lattice energy of Ih (PBE -60.0), kJ/mol"])
        less_pbe = found["absolute, less PBE: mean, kJ/mol"]
        assert less_pbe == pytest.approx(of_ih[-1] + 60.0, abs=1e-5)
    assert of_ih[0] == pytest.approx(of_ih[1], abs=1e-4)
    assert abs(of_ih[0]) > 0.1
    assert (tmp_path / "out" / "ice.png").stat().st_size > 10_000
