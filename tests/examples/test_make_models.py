"""make_models: what it would run, and what it says where files are missing."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "make_models.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def make_models(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import make_models

    return make_models


def test_a_model_that_is_there_is_not_made_again(tmp_path):
    (tmp_path / "nacl").mkdir()
    (tmp_path / "nacl" / "model.safetensors").touch()
    out = run("--folder", str(tmp_path), "--only", "nacl")
    assert out.returncode == 0
    assert "nacl: is there" in out.stdout


def test_missing_data_is_one_line(tmp_path):
    out = run("--folder", str(tmp_path), "--data-dir", str(tmp_path), "--only", "silicon")
    assert out.returncode == 1
    assert "mlearn_Si_training.extxyz" in out.stderr
    assert "--data-dir" in out.stderr
    assert "Traceback" not in out.stderr


def test_every_recipe_has_its_experiment_and_a_teacher_comes_first(make_models, tmp_path):
    import argparse

    options = argparse.Namespace(
        data_dir=Path("data"), folder=tmp_path, overrides=["trainer.max_epochs=1"]
    )
    for name, recipe in make_models.RECIPES.items():
        path = EXAMPLES.parent / "configs" / "experiment" / f"{recipe.experiment}.yaml"
        assert path.is_file()
        lines = make_models.commands(name, options)
        assert f"experiment={recipe.experiment}" in lines[-1]
        assert lines[-1][-1] == "trainer.max_epochs=1"
        assert any(word.startswith("data.train=") for word in lines[-1])
        assert len(lines) == (2 if recipe.teacher else 1)
    teacher, training = make_models.commands("nacl", options)
    assert f"data.train={teacher[-1]}" in training
