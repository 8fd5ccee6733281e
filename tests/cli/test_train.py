import json
import sys

import pytest

import mace_train
from mace_train.cli.problems import ConfigError
from mace_train.cli.train import main


def test_python_gets_the_results_that_the_folder_holds(tiny_run, tmp_path):
    results = mace_train.train(tiny_run)
    assert results == json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["valid"]["num_frames"] == 2


def test_python_gets_all_problems_as_an_exception():
    with pytest.raises(ConfigError) as caught:
        mace_train.train(["model=mace_tinny", "optim.lr=-1"])
    assert len(caught.value.problems) == 2


def test_the_command_trains(tiny_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mace-train", *tiny_run])
    main()
    assert "model.safetensors" in capsys.readouterr().out
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "frames.xyz", "run"}
