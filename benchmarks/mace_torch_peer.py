"""mace-torch as the peer of our benchmarks: its environment, one training run, its errors.

mace-torch lives in an environment of its own, since it pins e3nn and disarms torch.load.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

PACKAGES = ("mace-torch==0.3.16", "torch==2.13.0")

# One core, and no page faults for large buffers: the same for both codes.
ONE_CORE = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_TOP_PAD_": "67108864",
}


def environment_python(environment: Path) -> Path:
    """Interpreter of mace-torch's environment, which is made if it is absent."""
    python = environment / "bin" / "python"
    if not (environment / "bin" / "mace_run_train").exists():
        print(f"making {environment} for {' '.join(PACKAGES)} (once, a few minutes)")
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True
        )
    return python


def install_ours(python: Path) -> None:
    """Our package beside mace-torch in its environment, as far as it is not there yet."""
    probe = [str(python.absolute()), "-c", "import mace_train"]
    if subprocess.run(probe, cwd="/", capture_output=True, check=False).returncode:
        root = Path(__file__).parents[1]
        print(f"installing {root.name} beside mace-torch (once)")
        install = [str(python), "-m", "pip", "install", "--quiet", "--editable", str(root)]
        subprocess.run([*install, *PACKAGES], check=True)


def training_command(
    environment: Path,
    files: dict[str, Path],
    *,
    atomic_numbers: list[int],
    batch_size: int,
    num_epochs: int,
    seed: int,
) -> list[str]:
    """mace-torch's command with every setting spelled out that ours has too.

    Args:
        environment: Folder of mace-torch's environment.
        files: Extended XYZ files by subset; "train" and "valid" are used.
        atomic_numbers: Elements of all subsets; mace-torch stops at an unknown one.
        batch_size: Frames in a batch.
        num_epochs: Passes over the training frames.
        seed: Of the initial weights and the order of the frames.
    """
    settings = {
        "name": "peer",
        "seed": seed,
        "device": "cpu",
        "default_dtype": "float32",
        "train_file": files["train"].resolve(),
        "valid_file": files["valid"].resolve(),
        "energy_key": "energy",
        "forces_key": "forces",
        "stress_key": "stress",
        "atomic_numbers": str(atomic_numbers),
        "E0s": "average",
        "model": "ScaleShiftMACE",
        "interaction_first": "RealAgnosticResidualInteractionBlock",
        "interaction": "RealAgnosticResidualInteractionBlock",
        "hidden_irreps": "16x0e + 16x1o",
        "MLP_irreps": "16x0e",
        "radial_MLP": "[64, 64, 64]",
        "num_interactions": 2,
        "max_ell": 2,
        "correlation": 3,
        "r_max": 5.0,
        "num_radial_basis": 8,
        "num_cutoff_basis": 5,
        "scaling": "rms_forces_scaling",
        "compute_stress": True,
        "loss": "universal",
        "energy_weight": 1,
        "forces_weight": 10,
        "stress_weight": 100,
        "huber_delta": 0.01,
        "optimizer": "adam",
        "lr": 0.01,
        "weight_decay": 5e-7,
        "clip_grad": 10.0,
        "scheduler": "ReduceLROnPlateau",
        "lr_factor": 0.8,
        "scheduler_patience": 5,
        "ema_decay": 0.99,
        "batch_size": batch_size,
        "valid_batch_size": 16,
        "max_num_epochs": num_epochs,
        "error_table": "PerAtomMAE",
        "plot": False,
    }
    command = [
        str((environment / "bin" / "mace_run_train").absolute()),
        "--ema",
        "--amsgrad",
    ]
    return command + [f"--{name}={value}" for name, value in settings.items()]


def train_and_score(
    environment: Path,
    files: dict[str, Path],
    run_dir: Path,
    *,
    atomic_numbers: list[int],
    batch_size: int,
    num_epochs: int,
    seed: int,
) -> dict[str, float]:
    """Train mace-torch in ``run_dir`` and measure its best model on the test frames.

    Its best model is that of the epoch with the lowest validation loss, under averaged
    weights. ``cpu_seconds`` in the result is the whole command, as it is for ours.

    Raises:
        RuntimeError: If mace-torch fails; its log stays in ``run_dir``.
    """
    python = environment_python(environment).absolute()
    run_dir.mkdir(parents=True, exist_ok=True)
    command = training_command(
        environment,
        files,
        atomic_numbers=atomic_numbers,
        batch_size=batch_size,
        num_epochs=num_epochs,
        seed=seed,
    )
    start = cpu_seconds()
    run_logged(command, run_dir, log="training.txt")
    seconds = cpu_seconds() - start
    scorer = Path(__file__).with_name("score_mace_torch.py")
    arguments = [str(python), str(scorer), "peer.model", str(files["test"].resolve())]
    text = run_logged(arguments, run_dir, log="scores.txt")
    [line] = [line for line in text.splitlines() if line.startswith("RESULTS ")]
    return {**json.loads(line.removeprefix("RESULTS ")), "cpu_seconds": round(seconds, 1)}


def cpu_seconds() -> float:
    """Processor time of all finished child processes, which other jobs do not change."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_logged(command: list[str], run_dir: Path, *, log: str) -> str:
    """Run a command on one core in ``run_dir``; its output is returned and kept there.

    Raises:
        RuntimeError: If the command fails.
    """
    finished = subprocess.run(
        command,
        cwd=run_dir,
        env={**os.environ, **ONE_CORE},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    (run_dir / log).write_text(finished.stdout)
    if finished.returncode:
        tail = "\n".join(finished.stdout.splitlines()[-15:])
        raise RuntimeError(f"{command[0]} failed; see {run_dir / log}:\n{tail}")
    return finished.stdout
