"""A rank of a real run raises or is killed: all end with its message, and none stays."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

MINUTE = 60

# The command, but for the second rank, which fails where the variable says so.
COMMAND = """
import os

from mace_train.cli.train import main
from mace_train.training.module import MACEModule

if os.environ.get("LOCAL_RANK") == "1" and "SPOILT" in os.environ:
    begin_step = MACEModule.on_train_batch_start

    def fail(self, batch, batch_idx):
        if self.global_step == 3:
            raise ValueError("spoilt on purpose")
        begin_step(self, batch, batch_idx)

    MACEModule.on_train_batch_start = fail

main()
"""


def _start(words, folder, **variables):
    script = folder / "command.py"
    script.write_text(COMMAND)
    ranks = ("SLURM", "LOCAL_RANK", "RANK", "MASTER")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ranks)}
    more = ["trainer.devices=2", "trainer.max_epochs=100000", "data.num_workers=1"]
    return subprocess.Popen(
        [sys.executable, str(script), *words, *more],
        cwd=folder,
        env=environment | {"OMP_NUM_THREADS": "1"} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _second_rank(first):
    """Process id of the rank that Lightning started."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            started_with = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == first and b"LOCAL_RANK=1" in started_with:
            return int(process.name)
    raise AssertionError("there is no second rank")


def _wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def _status(folder):
    return json.loads((folder / "run" / "status.json").read_text())


def _end(process):
    """What was said, once all who could say something are gone: they hold the pipe."""
    try:
        return process.communicate(timeout=MINUTE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@pytest.mark.slow
def test_an_exception_of_one_rank_ends_the_run_with_its_message(tiny_run, tmp_path):
    process = _start(tiny_run, tmp_path, SPOILT="1")
    _wait_for(tmp_path / "run" / "metrics.csv", process)
    _, errors = _end(process)
    assert process.returncode == 1, errors
    assert re.search(r"rank 1 on \S+ failed: spoilt on purpose", errors)
    assert "Traceback" not in errors
    assert _status(tmp_path)["state"] == "failed"
    assert "failed: spoilt on purpose" in _status(tmp_path)["reason"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the rank in /proc")
def test_a_killed_rank_ends_the_run_and_is_named(tiny_run, tmp_path):
    process = _start(tiny_run, tmp_path)
    _wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", process)
    os.kill(_second_rank(process.pid), signal.SIGKILL)
    _, errors = _end(process)
    assert process.returncode == 1, errors
    assert re.search(r"rank 1 on \S+ was killed by SIGKILL \(out of memory\?\)", errors)
    assert _status(tmp_path)["state"] == "failed"
    assert "was killed by SIGKILL" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.slow
def test_other_ranks_end_when_the_first_is_killed(tiny_run, tmp_path):
    process = _start(tiny_run, tmp_path)
    _wait_for(tmp_path / "run" / "checkpoints" / "last.ckpt", process)
    process.kill()
    _, errors = _end(process)
    assert process.returncode == -signal.SIGKILL
    assert re.search(r"rank 1: error: rank 0 on \S+ ended without a word", errors)
