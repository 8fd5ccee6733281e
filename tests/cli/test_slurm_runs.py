"""The README's section on SLURM, followed literally on a cluster of two local tasks."""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_crystals import make_frame, write_frames

ROOT = Path(__file__).parents[2]
FAKE_SLURM = Path(__file__).with_name("fake_slurm.py")
SECTION = re.compile(r"### 2\. Many GPUs under SLURM\n(.*?)\n### ", re.DOTALL)
MAX_EPOCHS = 25

TINY = [
    "trainer.accelerator=cpu",
    f"trainer.max_epochs={MAX_EPOCHS}",
    "model.hidden_irreps=2x0e",
    "model.max_ell=1",
    "model.correlation=1",
    "model.num_radial_basis=3",
    "model.radial_mlp=[4]",
    "model.readout_hidden_irreps=2x0e",
    "data.batch_size_per_rank=2",
    "data.num_workers=0",
    "data.elements=auto",
    "data.e0s=least_squares",
    "data.valid_fraction=0.2",
    "data.split=random",
    "checkpoint.probe_frames=3",
    "report.figures=false",
    "dtype=float64",
]
"""What makes the README's runs small enough for this test, appended to its commands."""

pytestmark = pytest.mark.slow


def readme_commands():
    (section,) = SECTION.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    lines = [line for line in section.splitlines() if line.startswith("    ")]
    return [shlex.split(line, comments=True) for line in lines]


def command(*first_words):
    """The one command of the README that begins with these words."""
    (found,) = [w for w in readme_commands() if w[: len(first_words)] == [*first_words]]
    return found


def free_job():
    """A job's number whose port, the number's last digits above 15000, is free."""
    for job in range(1000, 9000, 7):
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", 15000 + job)):
                return job
    raise AssertionError("all ports are taken")


class Cluster:
    """A user's folder on the login node of a cluster."""

    def __init__(self, folder):
        self.folder = folder
        programs = folder / "programs"
        programs.mkdir(parents=True)
        (folder / "slurm_jobs").mkdir()
        for name in ("sbatch", "srun", "scontrol", "squeue", "scancel"):
            program = programs / name
            words = shlex.join([sys.executable, str(FAKE_SLURM), name])
            program.write_text(f'#!/bin/bash\nexec {words} "$@"\n')
            program.chmod(0o755)
        for name in ("mace-train", "mace-prepare"):
            program = programs / name
            module = f"mace_train.cli.{name.removeprefix('mace-')}"
            program.write_text(f'#!/bin/bash\nexec {sys.executable} -m {module} "$@"\n')
            program.chmod(0o755)
        activate = folder / ".venv" / "bin" / "activate"
        activate.parent.mkdir(parents=True)
        activate.write_text(f"export PATH={programs}:{Path(sys.executable).parent}:$PATH\n")
        shutil.copytree(ROOT / "scripts", folder / "scripts")
        frames = [make_frame(seed) for seed in range(20)]
        (folder / "data" / "mptrj").mkdir(parents=True)
        write_frames(folder / "data" / "mptrj" / "frames.extxyz", frames)
        own = ("SLURM", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_", "TORCHELASTIC")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(own)}
        self.environ = clean | {
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "FAKE_SLURM": str(folder / "slurm_jobs"),
            "FAKE_SLURM_FIRST_JOB": str(free_job()),
        }

    def __call__(self, *words, code=0):
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def submit(self, *words):
        said = self(*words)
        return re.fullmatch(r"Submitted batch job (\d+)\n", said)[1]

    def state(self, job):
        path = self.folder / "slurm_jobs" / job / "state"
        return json.loads(path.read_text()) if path.exists() else {"state": "PENDING"}

    def end_of(self, job, log):
        """The job's last state and its log; a job that hangs is ended."""
        until = time.monotonic() + 400
        while self.state(job)["state"] in ("PENDING", "RUNNING"):
            if time.monotonic() > until:
                os.kill(self.state(job)["pid"], signal.SIGKILL)
                raise AssertionError("the job hangs:\n" + log.read_text())
            time.sleep(0.2)
        return self.state(job), log.read_text()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The README's first command is done: shards are there."""
    found = Cluster(tmp_path_factory.mktemp("cluster"))
    found(*command("mace-prepare"))
    assert list((found.folder / "shards" / "mptrj").iterdir())
    return found


def epochs_of(run):
    with (run / "metrics.csv").open(newline="") as file:
        return [int(row["epoch"]) for row in csv.DictReader(file)]


def wait_for(condition, cluster, job):
    until = time.monotonic() + 200
    while not condition():
        assert cluster.state(job)["state"] in ("PENDING", "RUNNING"), cluster.state(job)
        assert time.monotonic() < until
        time.sleep(0.05)


def assert_whole(run, log, *, starts=1):
    assert json.loads((run / "status.json").read_text())["state"] == "finished", log
    assert epochs_of(run) == list(range(MAX_EPOCHS)), log
    assert (run / "model.safetensors").is_file()
    assert log.count("local rank") == starts, "a table of ranks for each start"
    assert len(set(re.findall(r" cpu +([0-9a-f]{8})\n", log))) == 1, "of one configuration"


def test_all_commands_of_the_section_are_followed_here():
    assert [words[0] for words in readme_commands()] == [
        "mace-prepare",
        "sbatch",
        "sbatch",
        "mace-train",
        "sbatch",
        "torchrun",
    ]


def test_a_job_that_reaches_its_limit_is_requeued_and_goes_on_to_the_end(cluster):
    words = command("sbatch", "scripts/slurm/train_single_node.sbatch")
    job = cluster.submit(*words, *TINY)
    run = cluster.folder / "runs" / f"mptrj-{job}"
    log = cluster.folder / f"slurm-{job}.log"
    wait_for((run / "checkpoints" / "last.ckpt").is_file, cluster, job)
    cluster("scancel", "--batch", "--signal=USR1", job)
    state, text = cluster.end_of(job, log)
    assert state == {"state": "COMPLETED", "code": 0, "starts": 2}, text
    assert f"requeueing job {job}" in text
    assert "going on from" in text
    assert_whole(run, text, starts=2)


def test_a_job_on_two_nodes_trains_to_the_end(cluster):
    words = command("sbatch", "scripts/slurm/train_multi_node.sbatch")
    job = cluster.submit(*words, *TINY)
    state, text = cluster.end_of(job, cluster.folder / f"slurm-{job}.log")
    assert state == {"state": "COMPLETED", "code": 0, "starts": 1}, text
    assert_whole(cluster.folder / "runs" / f"mptrj-{job}", text)


def test_a_rendered_file_is_sent_and_trains_to_the_end(cluster):
    no_gpus = ["submit.gpus_per_node=0", "submit.tasks_per_node=4"]
    said = cluster(*command("mace-train", "submit=slurm"), *TINY, *no_gpus)
    assert "8 nodes x 4 tasks = 32" in said
    job = cluster.submit(*command("sbatch", "runs/medium/job.sbatch"))
    run = cluster.folder / "runs" / "medium"
    state, text = cluster.end_of(job, run / f"slurm-{job}.log")
    assert state == {"state": "COMPLETED", "code": 0, "starts": 1}, text
    assert_whole(run, text)


def test_a_failed_run_is_not_requeued(cluster):
    words = command("sbatch", "scripts/slurm/train_single_node.sbatch")
    job = cluster.submit(*words, *TINY, "data.stress_key=absent")
    state, text = cluster.end_of(job, cluster.folder / f"slurm-{job}.log")
    assert state["state"] == "FAILED", text
    assert state["starts"] == 1
    assert "Traceback" not in text
    assert "stress" in text


def test_torchrun_starts_four_processes_that_train_as_one_run(cluster):
    words = command("torchrun")
    said = cluster(*words, *TINY, "name=by_torchrun")
    assert_whole(cluster.folder / "runs" / "by_torchrun", said)
    assert said.count("model.safetensors") == 2, "the model file and its use, once"


@pytest.mark.parametrize("devices", [2, 4])
def test_lightning_starts_as_many_processes_as_devices(cluster, devices):
    name = f"devices_{devices}"
    given = ["data=mptrj", "data.train=shards/mptrj", f"trainer.devices={devices}"]
    said = cluster("mace-train", *given, *TINY, f"name={name}")
    assert_whole(cluster.folder / "runs" / name, said)


def test_processes_of_torchrun_that_do_not_match_are_refused(cluster):
    words = ["torchrun", "--nproc-per-node=2", "--no-python", "mace-train", "data=mptrj"]
    given = ["data.train=shards/mptrj", "trainer.devices=4"]
    done = subprocess.run(
        [*words, *given],
        cwd=cluster.folder,
        env=cluster.environ,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode != 0
    assert "torchrun started 2 processes" in done.stderr
    assert "ask for 4" in done.stderr


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("optim.lr=0.0$((RANK + 1))", "optim.lr=0.02 (rank 0: 0.01)"),
        (
            "model.hidden_irreps=$((RANK + 2))x0e",
            "model.hidden_irreps=3x0e (rank 0: 2x0e)",
        ),
    ],
    ids=["learning rate", "architecture"],
)
def test_ranks_with_different_configurations_stop_the_run(cluster, override, told):
    name = f"different_{override.partition('.')[0]}"
    given = shlex.join(["data=mptrj", "data.train=shards/mptrj", *TINY, f"name={name}"])
    script = cluster.folder / f"{name}.sh"
    script.write_text(f"exec mace-train {given} {override}\n")
    done = subprocess.run(
        ["torchrun", "--nproc-per-node=2", "--no-python", "bash", str(script)],
        cwd=cluster.folder,
        env=cluster.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "the ranks were not given the same configuration" in done.stderr
    assert told in done.stderr
    status = json.loads((cluster.folder / "runs" / name / "status.json").read_text())
    assert status["state"] == "failed"
