import json
import subprocess
import sys
from pathlib import Path

import pytest

from mace_train.checkpoints.model_file import save_model

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small_crystals import make_frame, small_model, write_frames


@pytest.fixture
def folder(tmp_path):
    """A model of Li and O, and frames it knows and does not know."""
    save_model(tmp_path / "model.safetensors", small_model(), metadata={})
    write_frames(tmp_path / "known.xyz", [make_frame(i) for i in range(3)])
    write_frames(tmp_path / "unknown.xyz", [make_frame(0, symbols=("Li", "Fe"))])
    return tmp_path


def mace_evaluate(folder, *words):
    return subprocess.run(
        [sys.executable, "-m", "mace_train.cli.evaluate", *words, "data.cache_dir=cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PATH": "",
            "OMP_NUM_THREADS": "1",
        },
    )


def test_the_command_prints_a_table_and_writes_results(folder):
    words = ("checkpoint=model.safetensors", "data.test=known.xyz", "output=out")
    done = mace_evaluate(folder, *words)
    assert done.returncode == 0, done.stderr
    assert "forces (meV/Å)" in done.stdout + done.stderr
    results = json.loads((folder / "out" / "results.json").read_text())
    assert results["test"]["num_frames"] == 3


def test_neither_model_nor_calculator_is_a_mistake_of_the_config(folder):
    done = mace_evaluate(folder, "data.test=known.xyz")
    assert done.returncode == 2
    assert "give checkpoint=PATH" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_element_ends_with_one_message(folder):
    done = mace_evaluate(folder, "checkpoint=model.safetensors", "data.test=unknown.xyz")
    assert done.returncode == 1
    assert "does not know Fe" in done.stderr
    assert "unknown.xyz, frame 0, Li2Fe2" in done.stderr
    assert "Traceback" not in done.stderr
