"""Do several ranks compute what one does, and does a killed run end as an unbroken one?

Both are asked of real command lines, by the weights in the checkpoints they leave.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.io import write
from scale_commands import run_command, started

from mace_train.data.shards import Shard

RANKS = (1, 2, 4)
NUM_FRAMES, LARGEST, BATCH_SIZE = 48, 20, 7  # so that ranks hold unequal numbers of frames
_EPOCHS, _EVERY = 2, 2
_PATIENCE = 300  # s until a run has written its first checkpoint


def write_frames(originals: Path, path: Path) -> None:
    """Some small frames; every third is without forces, every fourth without stress."""
    shard, frames = Shard(originals), []
    small = [p for p in range(len(shard)) if shard.column("num_atoms")[p] <= LARGEST]
    for number, place in enumerate(small[:NUM_FRAMES]):
        frame = shard.frame(place)
        atoms = Atoms(frame.atomic_numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        atoms.info |= {"energy": frame.energy, "mp_id": f"mp-{number}"}
        if number % 3 and frame.forces is not None:
            atoms.arrays["forces"] = frame.forces
        if number % 4 and frame.stress is not None:
            atoms.info["stress"] = frame.stress.ravel()
        frames.append(atoms)
    write(path, frames)


def compare_ranks(frames: Path, folder: Path) -> dict[str, Any]:
    """Largest difference of any weight after an epoch, from the run on one rank."""
    weights = {}
    for ranks in RANKS:
        run_command(
            "mace-train", *_overrides(frames, f"ranks-{ranks}", ranks, 1), folder=folder
        )
        weights[ranks] = _weights(folder / f"ranks-{ranks}")
    return {
        "steps": -(-round(NUM_FRAMES * 0.75) // BATCH_SIZE),
        "difference": {
            str(ranks): _difference(weights[1], weights[ranks]) for ranks in RANKS[1:]
        },
    }


def compare_resumed(frames: Path, folder: Path) -> dict[str, Any]:
    """Whether a run killed in mid-epoch and started again ends bit for bit as another."""
    run_command("mace-train", *_overrides(frames, "unbroken", 1, _EPOCHS), folder=folder)
    command = _overrides(frames, "killed", 1, _EPOCHS)
    last = folder / "killed" / "checkpoints" / "last.ckpt"
    with started("mace-train", *command, folder=folder):
        end = time.monotonic() + _PATIENCE
        while not last.exists() and time.monotonic() < end:
            time.sleep(0.02)
        # It is killed at the end of this block, by SIGKILL.
    position = torch.load(last, weights_only=True)["mace_train"]["position"]
    run_command("mace-train", *command, folder=folder)
    return {
        "killed_after": {k: position[k] for k in ("epoch", "batches_done", "num_batches")},
        "difference": _difference(
            _weights(folder / "unbroken"), _weights(folder / "killed")
        ),
    }


def _overrides(frames: Path, name: str, ranks: int, epochs: int) -> list[str]:
    return [
        *("data=extxyz", f"data.train={frames}", f"data.batch_size={BATCH_SIZE}"),
        *("data.valid_fraction=0.25", "data.e0s=mp0", f"run_dir={name}", "dtype=float64"),
        *(f"trainer.devices={ranks}", "trainer.accelerator=cpu"),
        *(f"trainer.max_epochs={epochs}", f"checkpoint.every_steps={_EVERY}"),
        *("report.figures=false", "trainer.progress_bar=false"),
    ]


def _weights(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint["state_dict"]


def _difference(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    assert first.keys() == second.keys(), "the runs have other weights"
    return float(
        np.max([(first[name] - second[name]).abs().max().item() for name in first])
    )
