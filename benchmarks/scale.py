"""Do data, ranks and interruptions of full size work? One table.

    python benchmarks/scale.py                      (or: make bench-scale; some minutes)
    python benchmarks/scale.py --frames 1580395     (all of MPtrj streamed; an hour)

Frames are those of MPtrj's random sample in ``--data-dir`` where that is at hand, repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import scale_sameness
from scale_balance import measure_balance
from scale_commands import run_command
from scale_frames import prepare_originals
from scale_report import markdown
from scale_shards import write_copies
from scale_streaming import measure_streaming
from step import commit
from step_report import processor

from mace_train.cli.provenance import versions
from mace_train.data.shards import Shard

MPTRJ = 1_580_395
FIRST_STEPS = {
    "E0s of MACE-MP-0": ["data=mptrj"],
    "E0s by least squares": ["data=mptrj", "data.e0s=least_squares"],
}


class Bench:
    """What is measured, and what it needs.

    Args:
        args: The command line.
        folder: For all that is written; gone afterwards.
    """

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self._args, self._folder = args, folder
        self.originals, self.kind = prepare_originals(args.data_dir, folder)

    def balance(self) -> dict[str, Any]:
        """Edges of ranks, on the real distribution."""
        edges = Shard(self.originals).column("edge_counts")[:, -1]  # within 6 Å
        return measure_balance(edges, num_frames=self._args.open_frames)

    def streaming(self) -> dict[str, Any]:
        """`mace-prepare`."""
        return measure_streaming(
            self.originals,
            self._folder,
            num_frames=self._args.frames,
            workers=self._args.workers,
        )

    def opening(self) -> dict[str, Any]:
        """Opening of a million frames, and the first step on them."""
        shards = self._million()
        opened = json.loads(run_command("scale_opening.py", "open", str(shards)))
        first_step = {}
        for name, overrides in FIRST_STEPS.items():
            for _ in range(2):  # the first one warms the page cache
                os.environ["BENCHMARK_BEGAN"] = str(time.time())
                output = run_command(
                    "scale_opening.py",
                    *("first_step", *overrides, f"data.train={shards}"),
                    *("model=mace_tiny", "trainer.accelerator=cpu", "resume=never"),
                    f"run_dir={self._folder / 'first_step'}",
                    folder=self._folder,
                )
            first_step[name] = json.loads(output.splitlines()[-1])
        return {
            "frames": self._args.open_frames,
            "shards": len(list(shards.glob("*.h5"))),
            **opened,
            "first_step": first_step,
        }

    def loader(self) -> dict[str, Any]:
        """Two workers on frames of all shards."""
        return json.loads(run_command("scale_loader.py", str(self._million())))

    def ranks(self) -> dict[str, Any]:
        """1, 2 and 4 ranks."""
        return scale_sameness.compare_ranks(self._few(), self._folder)

    def resume(self) -> dict[str, Any]:
        """A run that was killed."""
        return scale_sameness.compare_resumed(self._few(), self._folder)

    def _million(self) -> Path:
        shards = self._folder / "million"
        if not shards.exists():
            write_copies(self.originals, shards, num_frames=self._args.open_frames)
        return shards

    def _few(self) -> Path:
        path = self._folder / "few.extxyz"
        if not path.exists():
            scale_sameness.write_frames(self.originals, path)
        return path


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "balance": Bench.balance,
    "streaming": Bench.streaming,
    "opening": Bench.opening,
    "loader": Bench.loader,
    "ranks": Bench.ranks,
    "resume": Bench.resume,
}


def measure(bench: Bench, parts: list[str]) -> dict[str, Any]:
    """Each part in turn; one that fails is told, and the others go on."""
    found = {}
    for name in parts:
        begin = time.perf_counter()
        try:
            found[name] = PARTS[name](bench)
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            found[name] = {"failed": " ".join(str(error).split())[-300:]}
        seconds = time.perf_counter() - begin
        print(f"{name} ({seconds:.0f} s): {json.dumps(found[name])}", flush=True)
    return found


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Data, ranks and resume at full size.")
    parser.add_argument("--frames", type=int, default=50_000, help="that are streamed")
    parser.add_argument(
        "--open-frames", type=int, default=MPTRJ, help="of the set that is opened"
    )
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--work-dir", type=Path, help="default: the system's temporary one")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument(
        "--quick", action="store_true",
        help="2,000 frames and 30,000 opened, nothing written: to see whether all works",
    )  # fmt: skip
    args = parser.parse_args()
    if args.quick:
        args.frames, args.open_frames, args.output = 2000, 30_000, None
    return args


def main() -> None:
    """Measure, print and keep."""
    args = parse_arguments()
    folder = Path(tempfile.mkdtemp(prefix="mace-train-scale-", dir=args.work_dir))
    try:
        bench = Bench(args, folder)
        results = {
            "date": time.strftime("%Y-%m-%d"),
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)),
            "load_before": os.getloadavg()[
                0
            ],  # of other programs: above 0.5, measure again
            "command": " ".join(["python", "benchmarks/scale.py", *sys.argv[1:]]),
            "commit": commit(),
            "versions": versions() | {"torch": metadata.version("torch")},
            "originals": bench.kind,
            "found": measure(bench, args.parts),
        }
    finally:
        shutil.rmtree(folder)
    text = markdown(results)
    print(text)
    if args.output is not None:
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / "scale.md").write_text(text)
        (args.output / "scale.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
