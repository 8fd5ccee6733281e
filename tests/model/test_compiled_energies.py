"""Which energies are compiled, and that they stay what they are."""

import copy
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

from mace_train.graph import AtomicGraph
from mace_train.model.compiled_energies import CompiledEnergies, compiles
from mace_train.model.mace import MACE
from mace_train.model.neighborhoods import Neighborhoods

SMALL_MODEL = {
    "hidden_irreps": "2x0e + 2x1o",
    "max_ell": 2,
    "correlation": 2,
    "num_interactions": 2,
    "r_max": 3.5,
    "num_radial_basis": 4,
    "cutoff_p": 5,
    "radial_mlp": [4],
    "readout_hidden_irreps": "2x0e",
    "first_interaction": "residual",
    "interaction": "residual",
    "distance_transform": "none",
    "pair_repulsion": False,
    "atomic_numbers": [1, 8, 14],
    "atomic_energies": [0.0, 0.0, 0.0],
    "avg_num_neighbors": 10.0,
    "scale": 1.0,
    "shift": 0.0,
}


@pytest.mark.parametrize("backend", ["auto", "plain", "chunked"])
def test_nothing_is_compiled_on_a_cpu_or_where_a_backend_was_named(backend):
    assert not compiles(backend, torch.device("cpu"))
    if backend == "plain":
        assert not compiles(backend, torch.device("cuda"))


def test_a_copy_of_a_model_is_compiled_anew():
    model = MACE(**SMALL_MODEL)
    model._compiled = CompiledEnergies(model.energies)
    assert copy.deepcopy(model)._compiled is None


def test_energies_that_torch_cannot_compile_run_as_they_are(monkeypatch, caplog):
    def fails(*_):
        raise TorchDynamoException("no compiler")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fails)
    model = MACE(**SMALL_MODEL)
    graph = AtomicGraph.empty(torch.float32)
    energies = CompiledEnergies(model.energies)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert energies(graph, Neighborhoods.of(graph)).energy.shape == (0,)
    assert caplog.text.count("no compiler") == 1


@pytest.mark.slow
def test_compiled_energies_have_the_same_forces_and_stress():
    """In a process of its own: type checks of the tests cannot be compiled."""
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler on a CPU, and g++ is not there")
    script = Path(__file__).with_name("compile_energies.py")
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(SMALL_MODEL)],
        # On several CPU threads torch 2.13 fails to compile sums over one structure.
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    differences = json.loads(done.stdout.splitlines()[-1])
    assert set(differences) == {"energy", "forces", "stress"}
    assert max(differences.values()) < 1e-12, differences
