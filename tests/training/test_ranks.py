"""Ranks of a distributed run: two gloo processes against one."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mace_train.training.ranks import (
    gather_over_ranks,
    is_distributed,
    sum_over_ranks,
)

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TIMES = {"seconds", "frames_per_second"}
TIMES |= {"timing/data", "timing/compute", "timing/communication"}


def test_one_process_speaks_to_itself():
    assert not is_distributed()
    assert gather_over_ranks("a") == ["a"]
    assert sum_over_ranks(torch.ones(2)).tolist() == [1, 1]


# The same command line starts the second process, as with `mace-train`.
RUN = """
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from pair_potential import Frames, make_module, partly_labelled, train

from mace_train.training.callbacks import EpochCallback
from mace_train.training.stages import StageTwo


class StopAt(EpochCallback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        is_last = trainer.global_rank == trainer.world_size - 1
        if trainer.global_step + 1 == self.step and is_last:
            pl_module.wishes.stop = "the last rank asked"


if __name__ == "__main__":
    torch.set_num_threads(1)
    options = json.loads(sys.argv[1])
    frames = partly_labelled(17)
    for index in options["spoiled"]:
        labels = frames[index].labels
        frames[index] = replace(
            frames[index], labels=replace(labels, energy=labels.energy * torch.nan)
        )
    seed = options["seed"] if "LOCAL_RANK" in os.environ else 0
    train(
        make_module(seed=seed, stage_two=StageTwo(start_epoch=2, lr=0.005)),
        Frames(
            frames[:13],
            frames[13:],
            batch_size=4,
            valid_batch_size=3,
            max_edges=options["max_edges"],
        ),
        Path(options["folder"]),
        max_epochs=options["epochs"],
        devices=options["devices"],
        checkpoint=Path(options["checkpoint"]) if options["checkpoint"] else None,
        extra_callbacks=[StopAt(options["stop_at"])],
    )
"""


def _run(
    folder,
    devices,
    *,
    epochs=3,
    checkpoint=None,
    seed=0,
    spoiled=(),
    max_edges=None,
    stop_at=None,
):
    script = folder.parent / "run.py"
    script.write_text(RUN)
    options = {
        "folder": str(folder),
        "devices": devices,
        "epochs": epochs,
        "checkpoint": checkpoint and str(checkpoint),
        "seed": seed,
        "spoiled": list(spoiled),
        "max_edges": max_edges,
        "stop_at": stop_at,
    }
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}"}
    return subprocess.run(
        [sys.executable, str(script), json.dumps(options)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def _rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _assert_same_run(one, other):
    """Losses, errors, weights, averages and moments agree to rounding."""
    assert len(_rows(one)) == len(_rows(other)) > 0
    for row, expected in zip(_rows(one), _rows(other)):
        for name in row.keys() - TIMES:
            assert float(row[name]) == pytest.approx(float(expected[name]), rel=1e-10), name
    saved, expected = (
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
        for folder in (one, other)
    )
    for name, value in expected["state_dict"].items():
        assert torch.allclose(saved["state_dict"][name], value, rtol=1e-10, atol=1e-10), (
            name
        )
    averages = expected["mace_train"]["ema_model_state"]
    for name, value in averages.items():
        ours = saved["mace_train"]["ema_model_state"][name]
        assert torch.allclose(ours, value, rtol=1e-10, atol=1e-10), name
    moments = (x["optimizer_states"][0]["state"] for x in (saved, expected))
    for ours, plain in zip(*(state.values() for state in moments)):
        for name in ("exp_avg", "exp_avg_sq"):
            assert torch.allclose(ours[name], plain[name], rtol=1e-10, atol=1e-10), name


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """Three epochs in one process, without cutting any batch."""
    folder = tmp_path_factory.mktemp("ranks") / "single"
    result = _run(folder, 1)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_processes_train_as_one_with_unequal_frames_and_missing_labels(
    tmp_path, single, devices
):
    # 13 frames in batches of 4: the last batch has one frame, so three ranks have none
    folder = tmp_path / "run"
    result = _run(folder, devices, max_edges=60)
    assert result.returncode == 0, result.stderr[-3000:]
    _assert_same_run(folder, single)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4])
def test_two_processes_stop_in_mid_epoch_and_another_number_goes_on(
    tmp_path, single, devices
):
    folder = tmp_path / "run"
    result = _run(folder, 2, stop_at=6)
    assert "RunStoppedError: the last rank asked" in result.stderr
    last = folder / "checkpoints/last.ckpt"
    entry = torch.load(last, weights_only=True)["mace_train"]
    assert (entry["position"]["epoch"], entry["position"]["batches_done"]) == (1, 2)
    result = _run(folder, devices, checkpoint=last)
    assert result.returncode == 0, result.stderr[-3000:]
    _assert_same_run(folder, single)


@pytest.mark.slow
def test_processes_with_different_settings_are_refused(tmp_path):
    result = _run(tmp_path / "run", 2, seed=5)
    assert result.returncode != 0
    assert "rank 1 of 2 has not that of rank 0" in result.stderr


@pytest.mark.slow
def test_a_nan_on_one_rank_stops_all_and_the_first_names_the_frames(tmp_path):
    # of each batch of 4 frames, a rank holds about 2: the spoiled one is on one rank only
    result = _run(tmp_path / "run", 2, spoiled=[0, 2])
    assert result.returncode != 0
    assert "NonFiniteError" in result.stderr
    assert "frame 0" in result.stderr
    assert not (tmp_path / "run/checkpoints").exists()
