"""How fast is molecular dynamics beside mace-torch's calculator, and in how much memory?

    python benchmarks/md.py

Both codes read the same model file and the same crystal. First their energies and forces
have to agree; then they take turns on the same core. Each row is kept as soon as it is done
and not measured again: delete its file in ``--work-dir``, or give ``--again``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from mace_torch_peer import environment_python
from md_crystal import REPEATS
from md_report import markdown, printed
from md_timing import Case, measure
from step import commit, make_models
from step_processes import OURS, PEER, Setting, workers
from step_report import processor

MODELS = ("small", "medium")
ALSO_DOUBLE = 1000  # atoms of the rows in float64
SCRIPTS = {OURS: "md_ours.py", PEER: "md_mace_torch.py"}
LEFT_FREE = 1500.0  # MB


def wanted_cases(args: argparse.Namespace) -> list[Case]:
    """All rows of the table."""
    cases = [Case(m, atoms, "float32") for m in args.models for atoms in args.sizes]
    if args.double and ALSO_DOUBLE in args.sizes:
        cases += [Case(model, ALSO_DOUBLE, "float64") for model in args.models]
    return cases


def free_memory() -> float:
    """MB that processes can still have."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 1024
    raise KeyError("MemAvailable")


def all_rows(args: argparse.Namespace, setting: Setting) -> list[dict[str, Any]]:
    """Measure what has not been measured yet; each row is kept when it is done."""
    rows = []
    for case in wanted_cases(args):
        kept = args.work_dir / f"{case.name}.json"
        if not kept.exists():
            files = args.work_dir / "models"
            if not (files / f"{case.model}.model").exists():
                files.mkdir(parents=True, exist_ok=True)
                make_models(
                    [case.model], Setting(setting.peer_python, setting.cores), files
                )
            load = os.getloadavg()[0]
            limit = args.memory_limit or free_memory() - LEFT_FREE
            row = measure(
                case, setting, args.work_dir, memory_limit=limit, quick=args.quick
            )
            kept.write_text(json.dumps({**row, **origin(load)}, indent=1) + "\n")
        rows.append(json.loads(kept.read_text()))
        print(printed(rows[-1]), flush=True)
    return rows


def origin(load: float) -> dict[str, Any]:
    """Where and when a row was measured, and how busy the machine was before."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "commit": commit(),
        "load": load,
    }


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="MD beside mace-torch's calculator.")
    parser.add_argument("--environment", type=Path, default=Path(".env-mace-torch"))
    parser.add_argument(
        "--sizes", nargs="+", type=int, choices=list(REPEATS), default=list(REPEATS),
        help="numbers of atoms",
    )  # fmt: skip
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument(
        "--no-double", dest="double", action="store_false",
        help=f"no rows in float64, which there are for {ALSO_DOUBLE} atoms",
    )  # fmt: skip
    parser.add_argument("--again", action="store_true", help="forget all rows kept")
    parser.add_argument(
        "--quick", action="store_true",
        help="100 atoms and few steps, nothing kept: to see whether all works",
    )  # fmt: skip
    parser.add_argument(
        "--memory-limit", type=float, metavar="MB",
        help=f"what a worker may allocate; else all that is free but {LEFT_FREE:.0f} MB",
    )  # fmt: skip
    parser.add_argument("--work-dir", type=Path, default=Path("runs/bench-md"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    if args.quick:
        args.sizes, args.output = [min(REPEATS)], None
        args.work_dir = args.work_dir / "quick"
    return args


def main() -> None:
    """Measure, print and keep."""
    args = parse_arguments()
    if args.again or args.quick:
        shutil.rmtree(args.work_dir, ignore_errors=True)
    args.work_dir.mkdir(parents=True, exist_ok=True)
    setting = Setting(
        peer_python=environment_python(args.environment),
        cores=(min(os.sched_getaffinity(0)),),
        scripts=SCRIPTS,
    )
    with workers(setting, OURS, PEER) as both:
        versions = {worker.code: worker.ask("versions") for worker in both}
    results = {
        "command": " ".join(["python", "benchmarks/md.py", *sys.argv[1:]]),
        "environment": setting.shared_variables,
        "versions": versions,
        "rows": all_rows(args, setting),
    }
    text = markdown(results)
    print("\n" + text)
    if args.output is not None:
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / "md.md").write_text(text)
        (args.output / "md.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
