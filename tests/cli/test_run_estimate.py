import json
import logging

import pytest
from small_crystals import make_frame, without, write_frames

from mace_train.cli.command import run_overrides
from mace_train.cli.config import compose
from mace_train.cli.problems import ConfigError
from mace_train.cli.run_train import run


def estimate(tiny_run, *overrides):
    return run(compose("train", [*tiny_run, "estimate=true", *overrides]))["estimate"]


def test_an_estimate_is_printed_and_nothing_is_trained_or_written(
    tiny_run, tmp_path, capsys
):
    told = estimate(tiny_run, "trainer.max_epochs=7")
    text = capsys.readouterr().out
    assert "estimate (nothing is trained)" in text
    assert "for 7 epochs" in text
    assert not (tmp_path / "run").exists()
    assert told["num_ranks"] == 1
    assert told["global_batch_size"] == 4
    assert told["steps_per_epoch"] == 2
    assert told["balance"] == 1.0
    assert told["gpu_hours"] is None
    seconds = told["training_seconds_per_epoch"] + told["validation_seconds_per_epoch"]
    assert told["hours"] == pytest.approx(7 * seconds / 3600)


def test_the_run_folder_keeps_the_numbers_if_it_is_there(tiny_run, tmp_path):
    (tmp_path / "run").mkdir()
    told = estimate(tiny_run)
    assert json.loads((tmp_path / "run/estimate.json").read_text()) == told
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["estimate.json"]


def test_ranks_of_a_job_to_be_submitted_are_planned_and_no_job_is_written(
    tiny_run, tmp_path, capsys
):
    words = [*tiny_run, "trainer.accelerator=auto", "estimate=true", "submit=slurm"]
    words += ["submit.nodes=2", "data.batch_size=8"]
    told = run_overrides("train", words)["estimate"]
    assert told["num_ranks"] == 8
    assert "8 GPUs, 4 on each of 2 machines" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_gpus_that_are_not_here_do_not_stop_an_estimate(tiny_run, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    told = estimate(
        tiny_run,
        "trainer=slurm",
        "trainer.accelerator=gpu",
        "trainer.devices=4",
        "trainer.num_nodes=2",
    )
    assert told["num_ranks"] == 8
    assert told["hours"] is told["gpu_hours"] is told["max_edges"] is None
    assert told["bytes_per_edge"] is not None
    assert "this machine has none" in capsys.readouterr().out


def test_a_weighted_label_that_is_missing_is_refused_here_too(tiny_run, tmp_path):
    frames = [without(make_frame(seed), "stress") for seed in range(6)]
    path = write_frames(tmp_path / "no_stress.xyz", frames)
    with pytest.raises(ValueError, match="stress"):
        estimate(tiny_run, f"data.train={path}")


def test_estimate_is_true_or_false():
    with pytest.raises(ConfigError, match="estimate"):
        compose("train", ["estimate=maybe"])


def test_automatic_bounds_train_to_the_same_weights_as_none(tiny_run, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    free, bounded = (
        run(compose("train", [*tiny_run, f"data.max_edges={bound}", "resume=never"]))
        for bound in ("null", "auto")
    )
    assert free["train"] == pytest.approx(bounded["train"], rel=1e-9)
    assert "data.max_edges=auto: " in caplog.text
