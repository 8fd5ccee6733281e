"""How fast is a training step, and how much memory does it need, beside mace-torch's?

    python benchmarks/step.py        (or: make bench)

Both codes read the same model file and the same random crystals. First they have to compute
the same numbers; then they take turns, step by step, on the same cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import step_sameness
from crystals import CUTOFF, make_crystals, write_crystals
from hydra import compose, initialize_config_dir
from mace_torch_peer import environment_python
from omegaconf import OmegaConf
from step_processes import OURS, PEER, Setting, workers
from step_report import TARGETS, markdown, processor
from step_timing import peak_memory, profile, sgemm_rate, time_size, time_two_cores

ROOT = Path(__file__).parents[1]
CONFIGS = {  # groups of configs/model by the name of the size
    "small": "mace_mp_small",
    "medium": "mace_mp_medium",
    "mace_tiny": "mace_tiny",
    "0b3": "mace_mp_0b3",
    "large": "mace_mp_large",
}
WITH_TARGETS = {size for _, size in TARGETS}
NUM_CRYSTALS, SMALL_CRYSTAL = 64, 20
NEIGHBORS = 61.96  # within 6 Å, as in MACE-MP-0's training set


def make_models(
    sizes: list[str], setting: Setting, folder: Path
) -> tuple[dict[str, Path], dict[str, dict[str, str]]]:
    """Model files by size, written by mace-torch; and the versions of both codes."""
    paths = {size: folder.absolute() / f"{size}.model" for size in sizes}
    with (
        initialize_config_dir(str(ROOT / "configs"), version_base=None),
        workers(setting, PEER, OURS) as (peer, ours),
    ):
        for size, path in paths.items():
            given = compose(f"model/{CONFIGS[size]}").model
            arguments: Any = OmegaConf.to_container(given)
            density = NEIGHBORS / CUTOFF**3
            arguments["avg_num_neighbors"] = density * arguments["r_max"] ** 3
            peer.ask("make", path=str(path), given=json.dumps(arguments), seed=1)
        return paths, {w.code: w.ask("versions") for w in (ours, peer)}


def measure(args: argparse.Namespace, setting: Setting, folder: Path) -> dict[str, Any]:
    """Everything that the report shows."""
    crystals, few = folder.absolute() / "crystals.npz", folder.absolute() / "few.npz"
    write_crystals(crystals, make_crystals(NUM_CRYSTALS))
    write_crystals(few, make_crystals(step_sameness.CHECKED, largest=SMALL_CRYSTAL))
    models, versions = make_models(args.sizes, setting, folder)
    sizes: dict[str, dict[str, Any]] = {size: {} for size in models}
    for size, path in models.items():
        with workers(setting, OURS, PEER) as both:
            sizes[size]["same"] = step_sameness.compare(both, path, few, folder)
        print(step_sameness.printed(size, sizes[size]["same"]), flush=True)

    def timed(setting: Setting, size: str, *, title: str = "") -> dict[str, Any]:
        steps = args.steps if size in WITH_TARGETS else min(args.steps, args.other_steps)
        found = time_size(setting, models[size], crystals, steps=steps, warmup=args.warmup)
        for mode in ("train", "infer"):
            print(f"{size}{title}, {mode}: {_line(found[mode])}", flush=True)
        return found

    for size, path in models.items():
        sizes[size] |= timed(setting, size)
        sizes[size]["memory"] = peak_memory(setting, path, crystals)
        print(f"{size}, memory: {sizes[size]['memory']}", flush=True)
    two_cores = {}
    for size in args.two_cores:
        both_cores = replace(setting, cores=tuple(sorted(os.sched_getaffinity(0))[:2]))
        steps = min(args.steps, args.other_steps)
        two_cores[size] = time_two_cores(
            both_cores, models[size], crystals, steps=steps, warmup=args.warmup
        )
        print(f"{size}, two cores: {two_cores[size]}", flush=True)
    default = {}
    if args.default_allocator:
        own = replace(setting, default_allocator=True)
        title = ", malloc's own settings"
        default = {size: timed(own, size, title=title) for size in models}
    shown = "medium" if "medium" in models else args.sizes[0]
    return {
        "versions": versions,
        "sizes": sizes,
        "two_cores": two_cores,
        "default_allocator": default,
        "operations_a_second": sgemm_rate(setting),
        "profile": (shown, profile(setting, models[shown], crystals)),
    }


def _line(times: dict[str, Any]) -> str:
    ms = times["ms_an_atom"]
    return (
        f"{ms[PEER]:.3f} / {ms[OURS]:.3f} ms an atom = {times['ratio']:.2f} "
        f"({times['lowest_ratio']:.2f}-{times['highest_ratio']:.2f})"
    )


def commit() -> str:
    """Commit of this checkout, and whether the code has changed since."""

    def git(*words: str) -> str:
        found = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return found.stdout.strip()

    changed = git("status", "--porcelain", "--", "mace_train", "configs", "benchmarks/*.py")
    return git("rev-parse", "--short", "HEAD") + (" and changes" if changed else "")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="A step beside mace-torch's.")
    parser.add_argument("--environment", type=Path, default=Path(".env-mace-torch"))
    parser.add_argument("--sizes", nargs="+", choices=list(CONFIGS), default=list(CONFIGS))
    parser.add_argument(
        "--steps", type=int, default=20, help="timed, of sizes with targets"
    )
    parser.add_argument("--other-steps", type=int, default=4, help="timed, of the others")
    parser.add_argument("--warmup", type=int, default=2, help="steps before those")
    parser.add_argument("--threads", type=int, default=1, help="of each code, pinned")
    parser.add_argument("--backend", help="model.backend of ours; its own choice if absent")
    parser.add_argument(
        "--two-cores", nargs="*", choices=list(CONFIGS), default=["small", "medium"],
        help="sizes that are also timed on two cores",
    )  # fmt: skip
    parser.add_argument(
        "--default-allocator", action="store_true", help="also with malloc's own settings"
    )
    parser.add_argument(
        "--quick", action="store_true",
        help="small and mace_tiny, 5 steps, nothing written: to see whether all works",
    )  # fmt: skip
    parser.add_argument("--work-dir", type=Path, default=Path("runs/bench"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    if args.quick:
        args.sizes, args.steps, args.warmup, args.output = (
            ["small", "mace_tiny"],
            5,
            2,
            None,
        )
        args.two_cores = []
    cores = len(os.sched_getaffinity(0))
    if args.threads > cores:
        parser.error(f"--threads {args.threads}, but there are {cores} cores")
    args.two_cores = [s for s in args.two_cores if s in args.sizes] if cores > 1 else []
    return args


def main() -> None:
    """Measure, print and keep."""
    args = parse_arguments()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    setting = Setting(
        peer_python=environment_python(args.environment),
        cores=tuple(sorted(os.sched_getaffinity(0))[: args.threads]),
        backend=args.backend,
    )
    results = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "threads": args.threads,
        "command": " ".join(["python", "benchmarks/step.py", *sys.argv[1:]]),
        "commit": commit(),
        "environment": setting.shared_variables,
        **measure(args, setting, args.work_dir),
    }
    text = markdown(results)
    print(text)
    if args.output is not None:
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / "step.md").write_text(text)
        (args.output / "step.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
