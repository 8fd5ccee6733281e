"""What mace-torch 0.3.16 computes for its own files is what ours computes.

Three files and their values stand beside this test. Where ``MACE_TORCH_PYTHON`` names a
Python that has mace-torch, it writes every supported architecture afresh to compare with.
"""

import lzma
import os
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import read

from mace_train.calculator import MACECalculator
from mace_train.checkpoints.model_file import load_model, save_model
from mace_train.graph import AtomicGraph
from mace_train.model.backends import Backend

HERE = Path(__file__).parent
NAMES = ("mp0_small", "mp0_medium", "mp0b3")
MACE_TORCH_PYTHON = os.environ.get("MACE_TORCH_PYTHON")
TOLERANCE = 1e-10  # eV, eV/Å, eV/Å^3 in float64: only the order of sums differs
SINGLE = 1e-2  # eV, eV/Å in float32, where repulsion reaches 5 keV


def compare(
    path: Path,
    values: Path,
    structures: Path,
    *,
    dtype: str,
    tolerance: float,
    backend: Backend = "auto",
):
    """Compare energies, forces, stresses and node energies of all structures."""
    model = load_model(path, dtype=dtype, backend=backend)
    head = model.heads.index("Default")
    with np.load(values) as reference:
        for place, atoms in enumerate(read(structures, ":")):
            graph = AtomicGraph.from_atoms(
                atoms,
                elements=model.elements,
                r_max=model.r_max,
                dtype=getattr(torch, dtype),
                head=head,
            )
            prediction = model(graph, compute_stress=True)
            pairs = {
                "energy": prediction.energy,
                "node_energy": prediction.node_energies,
                "forces": prediction.forces,
            }
            if atoms.pbc.all():  # otherwise mace-torch invents a cell and its volume
                pairs["stress"] = prediction.stress
            for name, found in pairs.items():
                np.testing.assert_allclose(
                    found.detach().double().numpy(),
                    reference[f"{place}_{name}"],
                    rtol=0,
                    atol=tolerance,
                    err_msg=f"{path.stem}, structure {place} ({atoms.symbols}), {name}",
                )


@pytest.fixture(params=NAMES)
def official(request, tmp_path) -> Path:
    path = tmp_path / f"{request.param}.model"
    path.write_bytes(lzma.decompress((HERE / f"{path.name}.xz").read_bytes()))
    return path


@pytest.mark.parametrize("backend", ["plain", "chunked"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float64", TOLERANCE), ("float32", SINGLE)]
)
def test_official_files_give_the_values_of_mace_torch(official, dtype, tolerance, backend):
    compare(
        official,
        HERE / f"{official.stem}.npz",
        HERE / "structures.extxyz",
        dtype=dtype,
        tolerance=tolerance,
        backend=backend,
    )


def test_a_converted_file_gives_the_values_of_mace_torch(official, tmp_path):
    save_model(tmp_path / "m.safetensors", load_model(official), metadata={})
    compare(
        tmp_path / "m.safetensors",
        HERE / f"{official.stem}.npz",
        HERE / "structures.extxyz",
        dtype="float64",
        tolerance=TOLERANCE,
    )


def test_the_calculator_gives_the_values_of_mace_torch(official):
    calculator = MACECalculator(official, dtype="float64")
    with np.load(HERE / f"{official.stem}.npz") as reference:
        for place, atoms in enumerate(read(HERE / "structures.extxyz", ":")):
            atoms.calc = calculator
            for name, found in (
                ("energy", [atoms.get_potential_energy()]),
                ("forces", atoms.get_forces()),
                ("node_energy", atoms.get_potential_energies()),
            ):
                expected = reference[f"{place}_{name}"]
                np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
            if atoms.pbc.all():
                stress = atoms.get_stress(voigt=False)
                expected = reference[f"{place}_stress"].reshape(3, 3)
                np.testing.assert_allclose(stress, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.skipif(MACE_TORCH_PYTHON is None, reason="MACE_TORCH_PYTHON is not set")
def test_every_architecture_that_mace_torch_writes_gives_its_values(tmp_path):
    structures = HERE / "structures.extxyz"
    command = [str(MACE_TORCH_PYTHON), HERE / "write_references.py", structures, tmp_path]
    subprocess.run(command, check=True)
    paths = sorted(tmp_path.glob("*.model"))
    assert len(paths) > 15
    for path, backend in product(paths, ("plain", "chunked")):
        compare(
            path,
            path.with_suffix(".npz"),
            structures,
            dtype="float64",
            tolerance=TOLERANCE,
            backend=backend,
        )
