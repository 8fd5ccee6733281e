"""Time of interleaved steps, peak memory, and how far a step is from what a core can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from step_processes import OURS, PEER, Ranks, Setting, Worker, two_ranks, workers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DTYPE, BATCH_SIZE = "float32", 8
MEMORY_STEPS = 3
PROFILE_LINES = 10


def interleaved(
    runners: Sequence[Worker | Ranks], mode: str, *, steps: int, warmup: int
) -> list[list[float]]:
    """Milliseconds an atom of each step of each runner; batch by batch they take turns."""
    for runner in runners:
        runner.mode(mode)
    num_batches = len(runners[0].atoms)
    times: list[list[float]] = [[] for _ in runners]
    for number in range(-warmup, steps):
        batch = number % num_batches
        for place, runner in enumerate(runners):
            seconds = runner.step(batch)
            if number >= 0:
                times[place].append(1e3 * seconds / runner.atoms[batch])
    return times


def compared(theirs: list[float], ours: list[float]) -> dict[str, Any]:
    """Medians, their ratio, and the range of the ratio over the pairs of steps."""
    ratios = np.array(theirs) / np.array(ours)
    medians = {PEER: float(np.median(theirs)), OURS: float(np.median(ours))}
    return {
        "steps": len(ours),
        "ms_an_atom": medians,
        "ratio": medians[PEER] / medians[OURS],
        "lowest_ratio": float(ratios.min()),
        "highest_ratio": float(ratios.max()),
        "each_ms_an_atom": {PEER: theirs, OURS: ours},
    }


def time_size(
    setting: Setting, model: Path, crystals: Path, *, steps: int, warmup: int
) -> dict[str, Any]:
    """Times of training steps and predictions of one model, and the limit of ours."""
    with workers(setting, PEER, OURS) as (peer, ours):
        loaded = {w.code: w.load(model, crystals, DTYPE, BATCH_SIZE) for w in (peer, ours)}
        edges = {found["edges"] for found in loaded.values()}
        assert len(edges) == 1, f"the codes do not see the same neighbors: {edges}"
        found: dict[str, Any] = {"loaded": loaded}
        for mode in ("train", "infer"):
            times = interleaved([peer, ours], mode, steps=steps, warmup=warmup)
            operations = ours.ask("floating_point_operations", batch=0) / ours.atoms[0]
            found[mode] = {**compared(*times), "operations_an_atom": operations}
        return found


def peak_memory(setting: Setting, model: Path, crystals: Path) -> dict[str, Any]:
    """MB that training needs above model and batches, in a fresh process each."""
    above = {}
    for code in (PEER, OURS):
        with workers(setting, code) as (worker,):
            worker.load(model, crystals, DTYPE, BATCH_SIZE)
            by_size = np.argsort(worker.atoms)[::-1].tolist()
            memory = worker.ask("memory", batches=by_size[:MEMORY_STEPS])
            above[code] = memory["peak"] - memory["before"]
    return {"MB": above, "ratio": above[PEER] / above[OURS]}


def time_two_cores(
    setting: Setting, model: Path, crystals: Path, *, steps: int, warmup: int
) -> dict[str, float]:
    """Median ms an atom of a training step on two cores: threads in both, ranks in ours."""
    with workers(setting, PEER, OURS) as threads, two_ranks(setting) as ranks:
        runners = [*threads, ranks]
        for runner in runners:
            runner.load(model, crystals, DTYPE, BATCH_SIZE)
        times = interleaved(runners, "train", steps=steps, warmup=warmup)
    names = (f"{PEER}, two threads", f"{OURS}, two threads", f"{OURS}, two ranks")
    return {name: float(np.median(each)) for name, each in zip(names, times)}


def sgemm_rate(setting: Setting) -> float:
    """Best rate of float32 products on the setting's cores, operations a second."""
    with workers(setting, OURS) as (ours,):
        return ours.ask("sgemm_rate")


def profile(setting: Setting, model: Path, crystals: Path) -> str:
    """The head of torch.profiler's table for one of our training steps."""
    with workers(setting, OURS) as (ours,):
        ours.load(model, crystals, DTYPE, BATCH_SIZE)
        ours.mode("train")
        ours.step(0)
        return ours.ask("profiled", batch=0, lines=PROFILE_LINES)
