"""How much of an epoch of `mace-train` is spent in training steps, and does memory grow?

    python benchmarks/epoch.py        (15 minutes on one core; --quick: two minutes)

A run of the command itself, in this process: crystals are written as extended XYZ, prepared
as shards, and trained on. Steps are forward, backward, clipping and the optimizer; all else
of the training part of an epoch is what this benchmark asks for. Validation, which is
forward passes too, stands by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from crystals import ELEMENTS, make_crystals
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from step import commit
from step_report import processor
from stopwatch import Stopwatch

from mace_train.cli.allocator import describe_allocator, keep_freed_memory
from mace_train.cli.command import run_overrides
from mace_train.data.dataset import GraphDataset
from mace_train.training.callbacks import CheckpointWriter, HistoryWriter
from mace_train.training.gradients import BatchGradient
from mace_train.training.loaders import ShareCollate
from mace_train.training.module import MACEModule
from mace_train.training.progress import ProgressReporter

if TYPE_CHECKING:
    from collections.abc import Sequence

MODELS = ("mace_tiny", "mace_mp_small")
STEPS = ("gradient", "clip, optimizer and average")
VALIDATION = "validation"
ASKED = 0.95
PARTS = (  # class, method, what its time is for
    (BatchGradient, "compute", "gradient"),
    (MACEModule, "training_step", "clip, optimizer and average"),
    (GraphDataset, "__getitem__", "reading frames, neighbor lists"),
    (ShareCollate, "__call__", "collate"),
    (MACEModule, "transfer_batch_to_device", "collate"),
    (MACEModule, "on_train_epoch_end", "metrics and log"),
    (HistoryWriter, "on_train_epoch_end", "metrics and log"),
    (ProgressReporter, "on_train_batch_end", "metrics and log"),
    (ProgressReporter, "on_train_epoch_end", "metrics and log"),
)
WHOLE = (
    (_EvaluationLoop, "run", VALIDATION),
    (CheckpointWriter, "on_train_epoch_end", "checkpoints"),
)
OTHER = "Lightning and the rest"


class Epochs:
    """Time of each part, and memory, of every epoch of a run."""

    def __init__(self, watch: Stopwatch) -> None:
        self._watch = watch
        self._began = 0.0
        self.found: list[dict[str, Any]] = []

    def begin(self) -> None:
        """An epoch begins, and the one before is over."""
        now, seconds = time.perf_counter(), self._watch.lap()
        if self._began:
            total = now - self._began
            seconds[OTHER] = total - sum(seconds.values())
            training = total - seconds.get(VALIDATION, 0.0)
            share = sum(seconds[name] for name in STEPS) / training
            epoch = {"seconds": total, "parts": seconds, "share_of_steps": share}
            self.found.append(epoch | {"resident_MB": resident_memory()})
            print(
                f"  {total:.1f} s, steps {share:.1%}, {resident_memory():.0f} MB",
                flush=True,
            )
        self._began = now


def resident_memory() -> float:
    """Memory of this process, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def write_shards(folder: Path, *, num_frames: int) -> Path:
    """Random crystals with random labels, as the command prepares them."""
    shards, file = folder / f"shards-{num_frames}", folder / f"crystals-{num_frames}.xyz"
    if not file.exists():
        frames = []
        for crystal in make_crystals(num_frames):
            atoms = Atoms(crystal.numbers, crystal.positions, cell=crystal.cell, pbc=True)
            stress = np.asarray(crystal.stress)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
            labels = {"energy": crystal.energy, "forces": crystal.forces, "stress": stress}
            atoms.calc = SinglePointCalculator(atoms, **labels)
            frames.append(atoms)
        write(file, frames)
    run_overrides("prepare", [f"data.train={file}", f"output={shards}", "workers=1"])
    return shards


def train(
    model: str, shards: Path, folder: Path, *, epochs: int, more: Sequence[str]
) -> dict[str, Any]:
    """Train with `mace-train` and tell of its epochs."""
    watch = Stopwatch()
    measured = Epochs(watch)
    before = MACEModule.on_train_epoch_start

    def on_train_epoch_start(module: MACEModule) -> None:
        measured.begin()
        before(module)

    def on_fit_end(module: MACEModule) -> None:  # noqa: ARG001 - a hook
        measured.begin()

    def on_train_end(module: MACEModule) -> None:  # noqa: ARG001 - a hook
        measured.begin()

    began = time.perf_counter()
    with (
        watch.on(*PARTS),
        watch.on(*WHOLE, whole=True),
        patch.object(MACEModule, "on_train_epoch_start", on_train_epoch_start),
        patch.object(MACEModule, "on_train_end", on_train_end),
    ):
        run_overrides(
            "train",
            [
                *(f"model={model}", "data=extxyz", f"data.train={shards}"),
                *(f"run_dir={folder / model}", "resume=never"),
                f"data.elements={ELEMENTS}",
                *("trainer.accelerator=cpu", "trainer.progress_bar=false"),
                *(f"trainer.max_epochs={epochs}", "report.figures=false"),
                *("report.train_frames=16", *more),
            ],
        )
    return {"run_seconds": time.perf_counter() - began, "epochs": measured.found}


def markdown(results: dict[str, Any]) -> str:
    """The report."""
    lines = [
        "# An epoch of mace-train",
        "",
        f"{results['date']}, {results['processor']}, {results['threads']} thread(s), "
        f"memory {results['memory']}. Command: `{results['command']}`, "
        f"commit {results['commit']}. {results['frames']} crystals of 10-60 atoms, of "
        "which a tenth validates, float32.",
        "",
        f"Asked: at least {ASKED:.0%} of the time of an epoch, validation apart, in steps.",
    ]
    for model, found in results["models"].items():
        epochs = found["epochs"]
        shares = " ".join(f"{epoch['share_of_steps']:.1%}" for epoch in epochs)
        memory = " ".join(f"{epoch['resident_MB']:.0f}" for epoch in epochs)
        outside = found["run_seconds"] - sum(epoch["seconds"] for epoch in epochs)
        lines += [
            "",
            f"## {model}",
            "",
            f"- In steps, epoch by epoch: {shares}",
            f"- Resident memory at the end of each, MB: {memory}",
            f"- Before the first and after the last epoch: {outside:.1f} s",
            "",
            "| part of the last epoch | s | share |",
            "|---|---|---|",
        ]
        parts, total = epochs[-1]["parts"], epochs[-1]["seconds"]
        for name, seconds in sorted(parts.items(), key=lambda part: -part[1]):
            lines.append(f"| {name} | {seconds:.2f} | {seconds / total:.2%} |")
        lines.append(f"| all | {total:.2f} | |")
    return "\n".join(lines) + "\n"


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Where the time of an epoch goes.")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work-dir", type=Path, default=Path("runs/bench-epoch"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument(
        "--override", nargs="*", default=[], help="of mace-train, e.g. data.num_workers=1"
    )
    parser.add_argument(
        "--quick", action="store_true",
        help="160 frames, mace_tiny, nothing written: to see whether all works",
    )  # fmt: skip
    args = parser.parse_args()
    if args.quick:
        args.frames, args.models, args.output = 160, ["mace_tiny"], None
    return args


def main() -> None:
    """Measure, print and keep."""
    args = parse_arguments()
    keep_freed_memory()  # as the command does before anything else
    torch.set_num_threads(args.threads)
    args.work_dir.mkdir(parents=True, exist_ok=True)
    shards = write_shards(args.work_dir, num_frames=args.frames)
    models = {}
    for model in args.models:
        print(model, flush=True)
        models[model] = train(
            model, shards, args.work_dir, epochs=args.epochs, more=args.override
        )
    results = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "threads": args.threads,
        "memory": describe_allocator(),
        "command": " ".join(["python", "benchmarks/epoch.py", *sys.argv[1:]]),
        "commit": commit(),
        "frames": args.frames,
        "models": models,
    }
    text = markdown(results)
    print(text)
    if args.output is not None:
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / "epoch.md").write_text(text)
        (args.output / "epoch.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
