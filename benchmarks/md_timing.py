"""One row of `md.py`: the first frame of both codes, then steps in turn, and memory."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from md_crystal import make_crystal, write_crystal
from step_processes import OURS, PEER, Setting, Worker, workers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WARMUP = {OURS: 5, PEER: 1}  # steps
AGREE = {"float32": 1e-3, "float64": 1e-9}  # of forces, relative to their rms
OUT_OF_MEMORY = r"tried to allocate (\d+) bytes"


@dataclass(frozen=True)
class Case:
    """What a row is about.

    Attributes:
        model: "small" or "medium".
        atoms: How many.
        dtype: "float32" or "float64".
    """

    model: str
    atoms: int
    dtype: str

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.model}-{self.atoms}-{self.dtype}"

    def turns(self, *, quick: bool) -> tuple[int, dict[str, int]]:
        """How often the codes take turns, and steps of each in a turn.

        Ours takes more, so that a turn has its share of new neighbor lists.
        """
        if quick:
            return 2, {OURS: 5, PEER: 1}
        by_atoms = {
            100: (10, {OURS: 20, PEER: 2}),
            1000: (5, {OURS: 10, PEER: 1}),
            4000: (3, {OURS: 5, PEER: 1}),
        }
        number, steps = by_atoms[self.atoms]
        return (number if self.dtype == "float32" else 3), steps


def measure(
    case: Case, setting: Setting, folder: Path, *, memory_limit: float, quick: bool
) -> dict[str, Any]:
    """Everything that the report shows of a row.

    Args:
        case: The row.
        setting: Of both workers.
        folder: Where models are, and where crystals and forces are written.
        memory_limit: MB that a worker may allocate; a code that wants more has failed.
        quick: Fewer steps.
    """
    folder = folder.absolute()
    crystal = folder / f"{case.atoms}.npz"
    write_crystal(crystal, make_crystal(case.atoms))
    number, steps = case.turns(quick=quick)
    row: dict[str, Any] = {**asdict(case), "turns": number, "steps": steps}
    frames: dict[str, tuple[float, np.ndarray]] = {}
    failed: dict[str, str] = {}
    with workers(setting, PEER, OURS) as both:
        for worker in both:
            worker.ask("limit_memory", megabytes=memory_limit)
            path = folder / "models" / f"{case.model}.model"
            worker.ask("load", model=str(path), crystal=str(crystal), dtype=case.dtype)
            with _failure_noted(worker, failed, memory_limit):
                frames[worker.code] = _first_frame(worker, folder)
                worker.ask("steps", count=WARMUP[worker.code])
        seconds: dict[str, list[float]] = {worker.code: [] for worker in both}
        for turn in range(number * len(both)):
            worker = both[turn % len(both)]
            if worker.code not in failed:
                with _failure_noted(worker, failed, memory_limit):
                    count = steps[worker.code]
                    found = worker.ask("steps", count=count) / count
                    seconds[worker.code].append(found)
        alive = [worker for worker in both if worker.process.poll() is None]
        row["state"] = {worker.code: worker.ask("state") for worker in alive}
    row["failed"] = failed
    row["seconds"] = {code: each for code, each in seconds.items() if code not in failed}
    if len(frames) == len(both):
        row["same"] = _differences(frames[OURS], frames[PEER])
        assert row["same"]["forces"] < AGREE[case.dtype] * row["same"]["size"], row["same"]
    return row


def _first_frame(worker: Worker, folder: Path) -> tuple[float, np.ndarray]:
    path = folder / f"forces-{worker.code}.npy"
    energy = worker.ask("first_frame", forces=str(path))
    return energy, np.load(path)


@contextmanager
def _failure_noted(
    worker: Worker, failed: dict[str, str], memory_limit: float
) -> Iterator[None]:
    """Go on without a worker whose memory did not suffice."""
    try:
        yield
    except RuntimeError as error:
        failed[worker.code] = _reason(error, memory_limit)


def _differences(
    ours: tuple[float, np.ndarray], theirs: tuple[float, np.ndarray]
) -> dict[str, float]:
    """Of the first frame's energy, eV an atom, and forces, eV/Å; and the forces' size."""
    return {
        "energy": abs(ours[0] - theirs[0]) / len(theirs[1]),
        "forces": float(np.abs(ours[1] - theirs[1]).max()),
        "size": float(np.sqrt((theirs[1] ** 2).mean())),
    }


def _reason(error: RuntimeError, memory_limit: float) -> str:
    """Why a worker failed, in a few words."""
    asked = re.search(OUT_OF_MEMORY, str(error))
    if asked or "MemoryError" in str(error):
        wanted = f"another {int(asked[1]) / 2**20:.0f} MB" if asked else "more"
        return f"out of memory: wanted {wanted} beyond a limit of {memory_limit:.0f} MB"
    last = str(error).strip().splitlines()[-1]
    if last.endswith("code -9"):
        return "out of memory: ended by the system"
    raise error
