"""Does fine-tuning pay, in frames, and what does it forget? Against training from nothing.

    python benchmarks/finetune.py --data-dir ../shared/data        (or: make bench-finetune)

A small model learns one molecule, and is fine-tuned on 10 to 300 frames of another one, at
another level of theory; and a model of silicon on lithium, where little carries over. All
runs, from the parent and from nothing, take the same number of steps. Each run is kept as
soon as it is done and not repeated, so that a stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch
from finetune_figure import draw
from finetune_report import markdown
from finetune_runs import FROM_NOTHING, METHODS, TASKS, Bench, Run, write_json
from step import commit
from step_report import processor

from mace_train.cli.allocator import keep_freed_memory

MAIN = (FROM_NOTHING, "full", "full, lr 1e-2", "lora")
OTHERS = ("replay", "replay, lr 1e-2")
FEW = 30
"""Frames for which, with one seed, the lines are measured that are in neither of these."""


def wanted_runs(args: argparse.Namespace) -> Iterator[Run]:
    """All runs, those first that the goals are about."""
    tasks = [TASKS[name] for name in args.tasks]
    for seed, task in product(args.seeds, tasks):
        for size, line in product(task.sizes, MAIN):
            yield Run(task, line, size, seed)
    if "acetylacetone" not in args.tasks:
        return
    task = TASKS["acetylacetone"]
    for seed, line, size in product(args.seeds, OTHERS, task.sizes):
        yield Run(task, line, size, seed)
    others = [line for line in METHODS if line not in MAIN + OTHERS]
    yield from (Run(task, line, FEW, args.seeds[0]) for line in others)


def all_rows(args: argparse.Namespace, bench: Bench) -> Iterator[dict[str, Any]]:
    """Do what has not been done yet, as long as there is time."""
    began = time.perf_counter()
    for run in wanted_runs(args):
        is_late = time.perf_counter() - began > 60 * args.minutes
        row = bench.result(run, may_run=not is_late and not args.report)
        if row is not None:
            energy, forces = (1000 * row["new"][key] for key in row["new"])
            print(
                f"{run.name}: {energy:.2f} meV/atom, {forces:.1f} meV/Å, "
                f"{row['steps']} steps, {row['seconds']:.0f} s",
                flush=True,
            )
            yield row


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Fine-tuning against from nothing.")
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--minutes", type=float, default=float("inf"),
        help="begin no run after these; the report tells of those that are done",
    )  # fmt: skip
    parser.add_argument("--report", action="store_true", help="no runs, only the report")
    parser.add_argument("--work-dir", type=Path, default=Path("runs/bench-finetune"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    return parser.parse_args()


def main() -> None:
    """Run, print and keep."""
    args = parse_arguments()
    keep_freed_memory()  # as the command does before anything else
    torch.set_num_threads(args.threads)
    args.work_dir.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=args.work_dir / "log.txt", level=logging.INFO)
    bench = Bench(args.data_dir, args.work_dir)
    parents = {name: bench.parent(TASKS[name]) for name in args.tasks}
    results = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "threads": args.threads,
        "command": " ".join(["python", "benchmarks/finetune.py", *sys.argv[1:]]),
        "commit": commit(),
        "parents": parents,
        "rows": list(all_rows(args, bench)),
    }
    text = markdown(results)
    print("\n" + text)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "finetune.md").write_text(text)
    write_json(args.output / "finetune.json", results)
    draw(args.output / "finetune.png", results)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
