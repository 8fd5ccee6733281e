"""Do we learn as well as mace-torch? Same data, split, settings and seeds, one table.

    python benchmarks/parity.py --data-dir ../shared/data        (or: make parity)

Two sets of DFT frames: 616 of MPtrj (84 elements, split by material) and mlearn's silicon
(its own test file). Each code trains the default architecture three times from different
initial weights; the errors are those of the test frames, per component. Finished runs in
``--work-dir`` are not repeated, so an interrupted comparison goes on.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from mace_torch_peer import PACKAGES, cpu_seconds, run_logged, train_and_score

QUANTITIES = {
    "energy_per_atom_mae": ("energy", "meV/atom", 1000.0),
    "forces_mae": ("forces", "meV/Å", 1000.0),
    "stress_mae": ("stress", "meV/Å^3", 1000.0),
}
CODES = ("mace-train", "mace-torch")


@dataclass(frozen=True)
class Case:
    """One data set and how it is learned.

    Attributes:
        name: Folder of the runs.
        sources: Files of the data directory; a second one is the test set.
        group_key: Frames that share this stay on one side of the split; None: by frame.
        test_fraction: Of the first file's frames (0 if there is a second file).
        batch_size: Frames in a batch.
        num_epochs: Passes over the training frames.
    """

    name: str
    sources: tuple[str, ...]
    group_key: str | None
    test_fraction: float
    batch_size: int
    num_epochs: int
    valid_fraction: float = 0.1


CASES = (
    Case("mptrj", ("mptrj_random_dev.extxyz",), "mp_id", 0.1, batch_size=8, num_epochs=15),
    Case(
        "silicon",
        ("mlearn_Si_training.extxyz", "mlearn_Si_test.extxyz"),
        None,
        0.0,
        batch_size=4,
        num_epochs=20,
    ),
)

Split = dict[str, list[tuple[str, int]]]
Errors = dict[str, dict[str, dict[str, float]]]  # by code and seed


def draw_split(case: Case, frames_by_source: dict[str, list[Atoms]]) -> Split:
    """Subsets as (file, place in the file), drawn here so that neither code chooses."""
    first, *others = case.sources
    frames = frames_by_source[first]
    groups = [
        str(frame.info[case.group_key]) if case.group_key else str(place)
        for place, frame in enumerate(frames)
    ]
    names = np.random.default_rng(2026).permutation(sorted(set(groups)))
    split: Split = {"train": [], "valid": [], "test": []}
    wanted = {"test": case.test_fraction, "valid": case.valid_fraction, "train": 1.0}
    for name in names:
        members = [(first, place) for place, group in enumerate(groups) if group == name]
        subset = next(s for s in wanted if len(split[s]) < round(wanted[s] * len(frames)))
        split[subset].extend(members)
    for source in others:
        split["test"].extend(
            (source, place) for place in range(len(frames_by_source[source]))
        )
    return {subset: sorted(split[subset]) for subset in ("train", "valid", "test")}


def write_subsets(
    split: Split, frames_by_source: dict[str, list[Atoms]], folder: Path
) -> dict[str, Path]:
    """One extended XYZ file a subset, for the code that cannot read a split."""
    files = {}
    for subset, places in split.items():
        files[subset] = folder / f"{subset}.extxyz"
        frames = [frames_by_source[source][place] for source, place in places]
        ase.io.write(files[subset], frames, format="extxyz")
    return files


def train_ours(
    case: Case, sources: Sequence[Path], split_file: Path, run_dir: Path, *, seed: int
) -> dict[str, float]:
    """Train the default model with ``mace-train`` and read its errors on test frames."""
    run_dir.mkdir(parents=True, exist_ok=True)
    command = [
        str(Path(sys.executable).with_name("mace-train")),
        "data=extxyz",
        f"data.train=[{','.join(str(source.resolve()) for source in sources)}]",
        f"data.split_file={split_file.resolve()}",
        f"data.batch_size={case.batch_size}",
        "data.num_workers=0",
        "model=mace_tiny",
        "loss=universal",
        f"trainer.max_epochs={case.num_epochs}",
        "trainer=cpu",
        "trainer.num_threads=1",
        f"seed={seed}",
        f"run_dir={run_dir.resolve()}",
    ]
    start = cpu_seconds()
    run_logged(command, run_dir, log="training.txt")
    seconds = cpu_seconds() - start
    results = json.loads((run_dir / "results.json").read_text())
    return {**results["test"], "cpu_seconds": round(seconds, 1)}


def run_case(case: Case, args: argparse.Namespace) -> Errors:
    """Errors by code and seed; finished runs are read, the others are made."""
    folder = args.work_dir / case.name
    folder.mkdir(parents=True, exist_ok=True)
    sources = [args.data_dir / source for source in case.sources]
    frames_by_source = {path.name: list(ase.io.iread(path)) for path in sources}
    split = draw_split(case, frames_by_source)
    split_file = folder / "split.json"
    header = {"format": "mace-train split", "version": 1, "method": "drawn by parity.py"}
    split_file.write_text(json.dumps({**header, **split}))
    files = write_subsets(split, frames_by_source, folder)
    numbers = {
        int(z) for frames in frames_by_source.values() for a in frames for z in a.numbers
    }
    errors: Errors = {code: {} for code in args.codes}
    for seed in args.seeds:
        for code in args.codes:
            run_dir = folder / f"{code}-seed{seed}"
            kept = folder / f"{code}-seed{seed}.json"
            if not kept.exists():
                print(f"{case.name}: {code}, seed {seed}", flush=True)
                if code == "mace-train":
                    scores = train_ours(case, sources, split_file, run_dir, seed=seed)
                else:
                    scores = train_and_score(
                        args.environment,
                        files,
                        run_dir,
                        atomic_numbers=sorted(numbers),
                        batch_size=case.batch_size,
                        num_epochs=case.num_epochs,
                        seed=seed,
                    )
                kept.write_text(json.dumps(scores, indent=1))
            errors[code][str(seed)] = json.loads(kept.read_text())
    zero = np.concatenate([a.get_forces().ravel() for a in ase.io.iread(files["test"])])
    errors["zero forces"] = {"-": {"forces_mae": float(np.abs(zero).mean())}}
    return errors


def table(case: Case, errors: Errors) -> str:
    """Mean over the seeds, each seed, and the ratio ours / theirs, as Markdown."""
    zero = errors["zero forces"]["-"]["forces_mae"] * 1000
    lines = [
        f"### {case.name}: {', '.join(case.sources)}",
        "",
        f"{case.num_epochs} epochs, batch {case.batch_size}, test frames; "
        f"predicting zero forces gives {zero:.1f} meV/Å.",
        "",
        "| MAE | code | mean and its standard error | each seed | ratio |",
        "|---|---|---|---|---|",
    ]
    for key, (name, unit, factor) in QUANTITIES.items():
        means = {}
        for code in (code for code in CODES if errors.get(code)):
            values = [scores[key] * factor for scores in errors[code].values()]
            means[code] = float(np.mean(values))
            mean = f"{means[code]:.4g}"
            if len(values) > 1:
                mean += f" ± {np.std(values, ddof=1) / np.sqrt(len(values)):.2g}"
            seeds = ", ".join(f"{value:.4g}" for value in values)
            ratio = ""
            if code == "mace-torch" and "mace-train" in means:
                ratio = f"{means['mace-train'] / means[code]:.3f}"
            lines.append(f"| {name}, {unit} | {code} | {mean} | {seeds} | {ratio} |")
    return "\n".join(lines) + "\n"


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Our learning compared with mace-torch.")
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="folder of the DFT frames"
    )
    parser.add_argument("--environment", type=Path, default=Path(".env-mace-torch"))
    parser.add_argument("--work-dir", type=Path, default=Path("runs/parity"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--codes", nargs="+", choices=CODES, default=list(CODES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument(
        "--cases", nargs="+", choices=[case.name for case in CASES],
        default=[case.name for case in CASES],
    )  # fmt: skip
    return parser.parse_args()


def main() -> None:
    """Run what is missing, print the table and keep it."""
    args = parse_arguments()
    cases = [case for case in CASES if case.name in args.cases]
    missing = [
        s for case in cases for s in case.sources if not (args.data_dir / s).exists()
    ]
    if missing:
        raise SystemExit(
            f"{args.data_dir} has no {', '.join(missing)}: name its folder with --data-dir"
        )
    errors = {case.name: run_case(case, args) for case in cases}
    header = (
        f"# Learning compared with {PACKAGES[0]}\n\n"
        f"{time.strftime('%Y-%m-%d')}, one core of {platform.machine()}, Python "
        f"{platform.python_version()}. Command: `make parity`. "
        "Ratio: mace-train / mace-torch.\n\n"
    )
    text = header + "\n".join(table(case, errors[case.name]) for case in cases)
    print(text)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "parity.md").write_text(text)
    (args.output / "parity.json").write_text(json.dumps(errors, indent=1) + "\n")


if __name__ == "__main__":
    main()
