"""Real processes that are killed, asked to end or out of time, and the command again."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from mace_train.training.history import History

pytestmark = pytest.mark.slow

NUM_STEPS = 12  # eight frames in batches of two, three epochs
OPTIONS = (
    "data.batch_size=2",
    "trainer.max_epochs=3",
    "checkpoint.every_steps=1",
    "optim.lr=0.02",
    "data.num_workers=1",
)
TIMES = ("seconds", "frames_per_second")

# The command, with a pause before every step so that it can be stopped at a certain one.
SLOWED = """
import time
from mace_train.training.module import MACEModule

step = MACEModule.training_step

def training_step(self, batch, batch_idx):
    step(self, batch, batch_idx)
    time.sleep({pause})

MACEModule.training_step = training_step
from mace_train.cli.train import main
main()
"""


def start(overrides, cwd, *, pause=0.0, environment=None):
    return subprocess.Popen(
        [sys.executable, "-c", SLOWED.format(pause=pause), *overrides],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"} | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process, timeout=240):
    output, errors = process.communicate(timeout=timeout)
    return process.returncode, output, errors


def entry_of(folder):
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)


def steps_done(folder):
    try:
        return entry_of(folder)["global_step"]
    except (FileNotFoundError, RuntimeError, OSError):
        return 0


def wait_for_step(folder, process, step):
    while process.poll() is None and steps_done(folder) < step:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()


def status(folder):
    return json.loads((folder / "status.json").read_text())


def rows(folder):
    return [
        {k: v for k, v in row.items() if k not in TIMES and not k.startswith("timing/")}
        for row in History(folder / "metrics.csv").rows()
    ]


def assert_same(one, other, path=""):
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_same(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), path
        for place, pair in enumerate(zip(one, other)):
            assert_same(*pair, f"{path}/{place}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    else:
        assert one == other or one != one, path


def assert_same_run(folder, whole):
    """Bit for bit: weights, average, moments, schedule, stages, and what was written."""
    mine, expected = entry_of(folder), entry_of(whole)
    assert mine["global_step"] == NUM_STEPS
    for key in ("state_dict", "optimizer_states"):
        assert_same(mine[key], expected[key], key)
    for key in ("ema_model_state", "averaged_weights", "schedule", "stages", "position"):
        assert_same(mine["mace_train"][key], expected["mace_train"][key], key)
    assert rows(folder) == rows(whole)
    results = [json.loads((f / "results.json").read_text()) for f in (folder, whole)]
    assert results[0] == results[1]
    assert status(folder)["state"] == "finished"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def overrides(tiny_run, whole):
    """Of this run; the uninterrupted one, which is run once, lies in ``whole``."""
    words = [*tiny_run, *OPTIONS]
    if not (whole / "results.json").exists():
        code, _, errors = finish(start([*words, f"run_dir={whole}"], whole))
        assert code == 0, errors
    return words


@pytest.mark.parametrize("step", [1, 4, 7])
def test_a_killed_run_goes_on_to_the_same_end(overrides, tmp_path, whole, step):
    folder = tmp_path / "run"
    process = start(overrides, tmp_path, pause=1.0)
    wait_for_step(folder, process, step)
    process.kill()
    finish(process)
    assert step <= steps_done(folder) < NUM_STEPS
    assert status(folder)["state"] == "running"
    code, output, errors = finish(start(overrides, tmp_path))
    assert code == 0, errors
    assert "going on from" in output
    assert_same_run(folder, whole)


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGINT, 130)]
)
def test_a_signal_saves_after_the_step_and_ends(overrides, tmp_path, whole, sent, code):
    folder = tmp_path / "run"
    words = [*overrides, "checkpoint.every_steps=null"]
    process = start(words, tmp_path, pause=1.0)
    while process.poll() is None and "frames/s" not in log_of(folder):
        time.sleep(0.05)
    time.sleep(2.0)
    os.killpg(process.pid, sent)  # its loader worker too, as SLURM does
    found, _, errors = finish(process)
    assert found == code, errors
    assert "the same command goes on after step" in errors
    assert "Traceback" not in errors
    told = status(folder)
    assert told["state"] == "interrupted"
    assert 0 < told["step"] == steps_done(folder) < NUM_STEPS
    code, _, errors = finish(start(words, tmp_path))
    assert code == 0, errors
    assert_same_run(folder, whole)


def log_of(folder):
    path = folder / "log.txt"
    return path.read_text() if path.exists() else ""


def test_a_run_ends_before_its_time_limit_and_says_how_to_go_on(overrides, tmp_path, whole):
    folder = tmp_path / "run"
    words = [*overrides, "checkpoint.every_steps=null"]
    end = {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": str(int(time.time()) + 50)}
    end |= {"SLURM_JOB_NAME": "bash"}  # a shell of salloc: one process, without srun
    code, _, errors = finish(start(words, tmp_path, environment=end))
    assert code == 75, errors
    assert "the time limit of SLURM job 7 is near" in errors
    assert status(folder)["state"] == "interrupted"
    assert steps_done(folder) == 1
    assert finish(start(words, tmp_path))[0] == 0
    assert_same_run(folder, whole)


def test_a_failed_run_says_so_in_its_status(overrides, tmp_path):
    words = [*overrides, "optim.lr=1.0e+300", "optim.clip_norm=null"]
    code, _, errors = finish(start(words, tmp_path))
    assert code == 1
    assert "NaN or infinite" in errors
    told = status(tmp_path / "run")
    assert told["state"] == "failed"
    assert "NaN or infinite" in told["reason"]


def test_two_commands_do_not_write_into_one_folder(overrides, tmp_path):
    process = start(overrides, tmp_path, pause=60.0)
    while not (tmp_path / "run" / "status.json").exists():
        assert process.poll() is None
        time.sleep(0.1)
    code, _, errors = finish(start(overrides, tmp_path))
    process.kill()
    finish(process)
    assert code == 1
    assert "being written by another process" in errors
    assert status(tmp_path / "run")["state"] == "running"
