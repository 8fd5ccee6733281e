"""``format=torch_export``: a file that predicts with torch alone, inputs of any size."""

import json
import subprocess
import sys
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read, write

from mace_train.exports.export import export_model
from mace_train.exports.torch_export import INPUTS, METADATA_FILE, TORCH_EXPORT
from mace_train.graph import AtomicGraph
from mace_train.model import MACE
from mace_train.transfer.heads import with_one_head

VARIANTS = {
    "scalars, one layer": {"hidden_irreps": "4x0e", "num_interactions": 1},
    "tensors": {"hidden_irreps": "3x0e + 3x1o + 3x2e", "max_ell": 3},
    "plain, three layers, one element": {
        "first_interaction": "plain",
        "interaction": "plain",
        "num_interactions": 3,
        "correlation": 2,
        "atomic_numbers": [14],
        "atomic_energies": [-5.4],
    },
    "density, agnesi, zbl, float32": {
        "first_interaction": "density",
        "interaction": "density_residual",
        "distance_transform": "agnesi",
        "pair_repulsion": True,
    },
    "second head": {
        "heads": ["a", "b"],
        "atomic_energies": [[-3.1, -7.2, -5.4], [-3.0, -7.0, -5.0]],
        "scale": [0.8, 0.7],
        "shift": [0.1, 0.2],
    },
}
SNIPPET = Path(__file__).parents[2] / "docs" / "exports.md"


@pytest.fixture(scope="module", autouse=True)
def _sizes_are_symbols():
    """While torch traces, sizes are no int, which type checks of tests would refuse."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A file and the model that it was made of."""
    torch.manual_seed(0)
    model = MACE(
        hidden_irreps="4x0e + 4x1o",
        max_ell=2,
        correlation=3,
        num_interactions=2,
        r_max=4.0,
        num_radial_basis=5,
        cutoff_p=5,
        radial_mlp=[8, 8],
        readout_hidden_irreps="4x0e",
        first_interaction="residual",
        interaction="residual",
        distance_transform="none",
        pair_repulsion=False,
        atomic_numbers=[1, 8, 14],
        atomic_energies=[-3.1, -7.2, -5.4],
        avg_num_neighbors=8.3,
        scale=0.8,
        shift=0.16,
    )
    model = model.to(torch.float64).eval()
    path = tmp_path_factory.mktemp("export") / "model.pt2"
    export_model(model, path, TORCH_EXPORT, metadata={"level_of_theory": "PBE"})
    return path, model


def inputs_of(frames, model):
    known = {"elements": model.elements, "r_max": model.r_max}
    graph = AtomicGraph.batch([AtomicGraph.from_atoms(atoms, **known) for atoms in frames])
    return graph, [getattr(graph, name) for name in INPUTS]


@pytest.mark.slow
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_any_number_of_atoms_edges_and_structures(mode, exported, water, crystal):
    path, model = exported
    module = torch.export.load(path).module()
    alone = Atoms("O")
    dimer = Atoms("OH", [[0, 0, 0], [0, 0, 1.1]])
    for frames in ([alone], [dimer], [crystal * (4, 3, 3)], [water, alone, crystal, dimer]):
        graph, inputs = inputs_of(frames, model)
        expected = model(graph, compute_stress=True, create_graph=False)
        with mode():
            found = module(*inputs)
        for name, value in found.items():
            torch.testing.assert_close(
                value, getattr(expected, name), atol=1e-11, rtol=1e-11
            )


@pytest.mark.slow
def test_forces_and_stress_are_derivatives_of_the_files_own_energy(exported, crystal):
    path, model = exported
    module = torch.export.load(path).module()
    _, inputs = inputs_of([crystal], model)
    found, step = module(*inputs), 1e-5
    for node, axis in ((0, 0), (3, 2)):
        energies = []
        for sign in (1, -1):
            moved = [value.clone() for value in inputs]
            moved[0][node, axis] += sign * step
            energies.append(module(*moved)["energy"].item())
        slope = (energies[0] - energies[1]) / (2 * step)
        assert -slope == pytest.approx(found["forces"][node, axis].item(), abs=1e-7)
    energies = []
    for sign in (1, -1):
        strain = torch.eye(3, dtype=torch.float64)
        strain[0, 1] = strain[1, 0] = sign * step / 2
        moved = [inputs[0] @ strain, inputs[1], inputs[2] @ strain, *inputs[3:]]
        energies.append(module(*moved)["energy"].item())
    slope = (energies[0] - energies[1]) / (2 * step) / crystal.get_volume()
    assert slope == pytest.approx(found["stress"][0, 0, 1].item(), abs=1e-8)


@pytest.mark.slow
def test_longer_edges_count_nothing_so_that_a_list_may_have_a_skin(exported, crystal):
    path, model = exported
    module = torch.export.load(path).module()
    known = {"elements": model.elements, "dtype": torch.float64}
    short, long = (
        AtomicGraph.from_atoms(crystal, r_max=model.r_max + skin, **known)
        for skin in (0, 1)
    )
    assert long.num_edges > short.num_edges
    found, expected = (
        module(*[getattr(graph, name) for name in INPUTS]) for graph in (long, short)
    )
    torch.testing.assert_close(found, expected, atol=1e-11, rtol=1e-11)


@pytest.mark.slow
def test_an_unknown_element_is_an_error_that_says_so(exported, water):
    path, model = exported
    _, inputs = inputs_of([water], model)
    inputs[1] = torch.tensor([8, 1, 26])
    with pytest.raises(RuntimeError, match="element that the model does not know"):
        torch.export.load(path).module()(*inputs)


@pytest.mark.slow
def test_the_file_says_what_it_is_and_where_it_comes_from(exported):
    path, model = exported
    files = {METADATA_FILE: ""}
    torch.export.load(path, extra_files=files)
    about = json.loads(files[METADATA_FILE])
    assert about["provenance"] == {"level_of_theory": "PBE"}
    assert about["atomic_numbers"] == [1, 8, 14]
    assert about["r_max"] == model.r_max
    assert about["dtype"] == "float64"
    assert "positive in tension" in about["outputs"]["stress"]
    assert list(about["inputs"]) == list(INPUTS)


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_kind_of_model_is_written_and_compared(variant, small_mace, tmp_path):
    model = small_mace(**VARIANTS[variant])
    if variant.endswith("float32"):
        model = model.float()
    if variant == "second head":
        model = with_one_head(model, "b")
    # It is kept only if the file predicts what the model does, within the tolerance.
    comparison = export_model(model, tmp_path / "m.pt2", TORCH_EXPORT, metadata={})
    assert comparison.num_elements == len(model.elements)
    assert comparison.largest["forces"] > 0.01
    assert None not in comparison.deviation.values()


@pytest.mark.slow
def test_the_documented_lines_run_without_this_package(exported, crystal, tmp_path):
    """In another process, in which this package cannot be imported."""
    path, model = exported
    write(tmp_path / "structure.extxyz", crystal)
    (tmp_path / "model.pt2").write_bytes(path.read_bytes())
    text = SNIPPET.read_text(encoding="utf-8")
    lines = text.split("<!-- torch_export -->")[1].split("```python")[1].split("```")[0]
    blocked = "import sys; sys.modules['mace_train'] = sys.modules['e3nn'] = None\n"
    check = (
        "\nimport numpy\n"
        "numpy.savez('found.npz', energy=energy, forces=forces, stress=stress)"
    )
    script = tmp_path / "run.py"
    script.write_text(blocked + lines + check, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # The text file has rounded positions: compare for what is in it.
    graph, _ = inputs_of([read(tmp_path / "structure.extxyz")], model)
    expected = model(graph, compute_stress=True)
    found = np.load(tmp_path / "found.npz")
    assert found["energy"] == pytest.approx(expected.energy.item(), abs=1e-10)
    np.testing.assert_allclose(found["forces"], expected.forces.numpy(), atol=1e-10)
    np.testing.assert_allclose(found["stress"], expected.stress.numpy(), atol=1e-10)
