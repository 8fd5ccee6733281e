import json
import logging
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml
from small_crystals import make_frame, without, write_frames

from mace_train.checkpoints.model_file import check_probes, load_model, read_metadata
from mace_train.cli import frame_progress
from mace_train.cli.config import compose
from mace_train.cli.run_train import run


def train(tiny_run, *overrides):
    return run(compose("train", [*tiny_run, *overrides]))


def model_weights(path):
    return load_model(path).state_dict()


def test_a_run_leaves_all_that_a_user_needs(tiny_run, tmp_path):
    results = train(tiny_run, "data.test_fraction=0.2")
    folder = tmp_path / "run"
    names = {path.name for path in folder.iterdir()}
    assert {
        "config.yaml",
        "checkpoints",
        "model.safetensors",
        "split.json",
        "metrics.csv",
        "results.json",
        "log.txt",
    } <= names
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
    }
    assert set(results) == {"train", "valid", "test"}
    assert results == json.loads((folder / "results.json").read_text())
    assert "${" not in (folder / "config.yaml").read_text()
    assert yaml.safe_load((folder / "config.yaml").read_text())["dtype"] == "float64"
    assert "backend: chunked" in (folder / "log.txt").read_text()


def test_the_model_file_tells_where_it_comes_from(tiny_run, tmp_path):
    train(tiny_run)
    path = tmp_path / "run" / "model.safetensors"
    record = read_metadata(path)
    assert record["elements"] == ["Li", "O"]
    assert record["units"]["forces"] == "eV/angstrom"
    assert record["config"]["data"]["batch_size"] == 4
    assert record["num_epochs"] == 1
    (checksum,) = record["data_checksums"].values()
    assert len(checksum) == 64
    deviations = check_probes(path)
    assert deviations.num_frames == 3
    assert deviations.forces < 1e-10


def test_no_probe_frames_are_stored_if_none_are_asked_for(tiny_run, tmp_path):
    train(tiny_run, "checkpoint.probe_frames=0")
    assert check_probes(tmp_path / "run" / "model.safetensors") is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_is_that_of_the_weights(tiny_run, tmp_path, dtype):
    train(tiny_run, f"dtype={dtype}")
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(tiny_run, tmp_path):
    weights = []
    for seed, name in ((0, "a"), (0, "b"), (1, "c")):
        train(tiny_run, f"seed={seed}", f"run_dir={tmp_path / name}")
        weights.append(model_weights(tmp_path / name / "model.safetensors"))
    first, second, third = weights
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_a_run_that_goes_on_equals_one_that_was_not_stopped(tiny_run, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    train(tiny_run, "trainer.max_epochs=4", f"run_dir={tmp_path / 'whole'}")
    train(tiny_run, "trainer.max_epochs=2", f"run_dir={tmp_path / 'parts'}")
    train(tiny_run, "trainer.max_epochs=4", f"run_dir={tmp_path / 'parts'}")
    assert "(step 4, 2 whole epochs)" in caplog.text
    whole = model_weights(tmp_path / "whole" / "checkpoints" / "last.ckpt")
    parts = model_weights(tmp_path / "parts" / "checkpoints" / "last.ckpt")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_finished_run_says_so_and_only_reports(tiny_run, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    first = train(tiny_run)
    before = (tmp_path / "run" / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    second = train(tiny_run)
    assert "this run is finished (1 epochs)" in caplog.text
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before
    assert second == first


def test_another_architecture_in_the_same_folder_is_refused(tiny_run, tmp_path):
    train(tiny_run)
    config = (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(ValueError, match=r"max_ell is 1 in the checkpoint and 2 now"):
        train(tiny_run, "model.max_ell=2")
    assert (tmp_path / "run" / "config.yaml").read_text() == config
    train(tiny_run, "model.max_ell=2", "resume=never")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.max_epochs=1", "trained for 2 epochs, more than trainer.max_epochs=1"),
        ("dtype=float32", "dtype is 'float64' in the checkpoint and 'float32' now"),
    ],
)
def test_a_run_that_cannot_go_on_so_leaves_its_folder_as_it_is(
    tiny_run, tmp_path, override, said
):
    train(tiny_run, "trainer.max_epochs=2")
    config = (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(ValueError, match=said):
        train(tiny_run, "trainer.max_epochs=2", override)
    assert (tmp_path / "run" / "config.yaml").read_text() == config


def test_a_damaged_checkpoint_is_an_error_and_never_a_fresh_start(tiny_run, tmp_path):
    train(tiny_run)
    for checkpoint in (tmp_path / "run" / "checkpoints").glob("*.ckpt"):
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be gone on from"):
        train(tiny_run, "trainer.max_epochs=2")


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    tiny_run, tmp_path, caplog
):
    train(tiny_run, "trainer.max_epochs=2")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    train(tiny_run, "trainer.max_epochs=3")
    assert "last.ckpt (1000 bytes) is damaged" in caplog.text


def test_what_may_change_goes_on_and_is_recorded(tiny_run, tmp_path):
    train(tiny_run)
    train(tiny_run, "trainer.max_epochs=2", "optim.lr=0.003")
    (change,) = [
        json.loads(line)
        for line in (tmp_path / "run" / "changes.jsonl").read_text().splitlines()
        if "optim.lr" in line
    ]
    assert (change["step"], change["from"], change["to"]) == (2, 0.01, 0.003)
    record = read_metadata(tmp_path / "run" / "model.safetensors")
    assert change in record["config_changes"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.batch_size=3", "data.batch_size=4"),
        ("seed=5", "set seed=0"),
        ("loss=huber", "loss"),
    ],
)
def test_what_would_make_it_another_run_is_refused(tiny_run, tmp_path, override, said):
    train(tiny_run)
    with pytest.raises(ValueError, match=said):
        train(tiny_run, "trainer.max_epochs=2", override)


def test_training_starts_from_the_weights_of_init_from(tiny_run, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    train(tiny_run)
    parent = tmp_path / "run" / "model.safetensors"
    others = [word for word in tiny_run if not word.startswith("model.")]
    tiny_lr = ["optim.lr=1e-12", "optim.weight_decay=0"]
    train(others, f"init_from={parent}", *tiny_lr, f"run_dir={tmp_path / 'child'}")
    old, new = (
        model_weights(parent),
        model_weights(tmp_path / "child" / "model.safetensors"),
    )
    assert all(torch.allclose(old[name], new[name], atol=1e-9) for name in old)
    config = yaml.safe_load((tmp_path / "child" / "config.yaml").read_text())
    assert config["model"]["hidden_irreps"] == "2x0e"
    assert f"start: {parent} (elements: Li O; r_max 4 Å" in caplog.text


def test_preparation_and_final_evaluation_tell_how_far_they_are(
    tiny_run, tmp_path, monkeypatch
):
    monkeypatch.setattr(frame_progress, "SECONDS_BETWEEN_LINES", 0.0)
    train(tiny_run)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "preparing: 10 of 10 frames" in log
    assert "evaluating valid: 2 of 2 frames" in log


def test_a_weighted_label_that_no_frame_has_is_refused_with_the_cure(tiny_run, tmp_path):
    frames = [without(make_frame(seed), "stress") for seed in range(6)]
    path = write_frames(tmp_path / "no_stress.xyz", frames)
    with pytest.raises(ValueError, match=r"loss=energy_forces|loss.stress_weight=0"):
        train(tiny_run, f"data.train={path}")


def test_weights_of_a_second_stage_are_held_against_the_labels_too(tiny_run, tmp_path):
    frames = [without(make_frame(seed), "stress") for seed in range(6)]
    path = write_frames(tmp_path / "no_stress.xyz", frames)
    overrides = [f"data.train={path}", "loss.stress_weight=0", "stage_two.start_epoch=0"]
    with pytest.raises(ValueError, match="stress"):
        train(tiny_run, *overrides, "stage_two.stress_weight=1")


def test_without_a_logger_there_is_no_metrics_file(tiny_run, tmp_path):
    train(tiny_run, "logger=none")
    assert not (tmp_path / "run" / "metrics.csv").exists()


def test_figures_are_drawn(tiny_run, tmp_path):
    train(tiny_run, "report.figures=true")
    assert {path.name for path in (tmp_path / "run").glob("*.png")} == {
        "learning_curves.png",
        "parity_energy.png",
        "parity_forces.png",
        "parity_stress.png",
    }


def command(words, *overrides, cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "mace_train.cli.train", *words, *overrides],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_how_to_go_on(tiny_run, tmp_path, sent, code):
    process = command(tiny_run, "trainer.max_epochs=100000", cwd=tmp_path)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    while not last.exists() and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(sent)
    _, said = process.communicate(timeout=120)
    assert process.returncode == code, said
    assert "the same command goes on after step" in said
    assert "Traceback" not in said
    assert "the same command goes on" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.slow
def test_two_processes_train_as_one_and_write_once(tiny_run, tmp_path):
    process = command(tiny_run, "trainer.devices=2", "trainer.max_epochs=2", cwd=tmp_path)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert said.count("model.safetensors") == 2, (
        "the model file and how to evaluate it, once"
    )
    train(tiny_run, "trainer.max_epochs=2", f"run_dir={tmp_path / 'one'}")
    two = model_weights(tmp_path / "run" / "checkpoints" / "last.ckpt")
    one = model_weights(tmp_path / "one" / "checkpoints" / "last.ckpt")
    for name, weights in one.items():
        np.testing.assert_allclose(two[name], weights, rtol=1e-8, atol=1e-10, err_msg=name)


@pytest.mark.slow
def test_a_sweep_with_several_processes_is_refused(tiny_run, tmp_path):
    process = command(["-m", *tiny_run], "seed=0,1", "trainer.devices=2", cwd=tmp_path)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "each process would run the whole sweep" in said
