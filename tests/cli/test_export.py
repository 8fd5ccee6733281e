import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mace_train.checkpoints.model_file import save_model

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small_crystals import small_model


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path / "model.safetensors", small_model(), metadata={})
    return tmp_path


def mace_export(folder, *words):
    return subprocess.run(
        [sys.executable, "-m", "mace_train.cli.export", *words],
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


def test_all_mistakes_of_the_command_line_are_told_at_once(folder):
    done = mace_export(folder, "checkpoint=modle.safetensors", "format=mace", "dtype=half")
    assert done.returncode == 2
    assert "3 problems" in done.stderr
    assert "did you mean model.safetensors?" in done.stderr
    assert "mace_torch | torch_export | lammps" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_arguments_it_says_what_must_be_given(folder):
    done = mace_export(folder)
    assert done.returncode == 2
    for key in ("checkpoint", "format"):
        assert f"{key}: must be given" in done.stderr


def test_mace_torch_is_written_or_its_absence_ends_with_one_message(folder):
    done = mace_export(folder, "checkpoint=model.safetensors", "format=mace_torch")
    assert "Traceback" not in done.stderr
    if importlib.util.find_spec("mace") is None:
        assert done.returncode == 1
        assert done.stderr.startswith("error: format=mace_torch writes mace-torch's own")
        assert "pip install 'mace-torch==0.3.16'" in done.stderr
        assert [path.name for path in folder.iterdir()] == ["model.safetensors"]
    else:
        assert done.returncode == 0, done.stderr
        assert "forces (eV/Å)" in done.stdout
        record = json.loads((folder / "model-mace_torch.model.json").read_text())
        assert record["comparison"]["deviation"]["forces"] < 1e-10
