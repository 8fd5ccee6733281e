"""The tables of `finetune.py`: means over the seeds, and what has been asked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from finetune_runs import FROM_NOTHING, LONGER, METHODS, TASKS, Task

FORGOTTEN = 1.4  # at most so much larger may the old task's forces error be with replay


class Errors:
    """Errors of a task's runs, by line of the table and number of frames.

    Args:
        rows: Of all tasks, as they are kept.
        task: The one that is asked about.
    """

    def __init__(self, rows: list[dict[str, Any]], task: Task) -> None:
        self._rows = [row for row in rows if row["task"] == task.name]
        self.task = task

    @property
    def lines(self) -> list[str]:
        """Lines of the table that have a run."""
        return [line for line in METHODS if any(r["line"] == line for r in self._rows)]

    def values(
        self, line: str, size: int, test: str = "new", key: str = "forces"
    ) -> list[float]:
        """In meV/Å or meV an atom, one for each seed."""
        return [
            1000 * row[test][key]
            for row in self._rows
            if (row["line"], row["size"]) == (line, size) and test in row
        ]

    def mean(self, line: str, size: int, test: str = "new", key: str = "forces") -> float:
        """The mean over the seeds; NaN without a run."""
        values = self.values(line, size, test, key)
        return float(np.mean(values)) if values else float("nan")

    @property
    def steps(self) -> tuple[int, int]:
        """The fewest and the most steps of a run that is not longer on purpose."""
        steps = [row["steps"] for row in self._rows if row["line"] not in LONGER]
        return min(steps), max(steps)


def markdown(results: dict[str, Any]) -> str:
    """The whole report."""
    lines = [
        "# Fine-tuning against training from nothing",
        "",
        f"{results['date']}, {results['processor']}, {results['threads']} thread(s). "
        f"Command: `{results['command']}`, commit {results['commit']}; "
        "runs kept from before are not repeated.",
        "",
        "RMSE on test frames of which no run has seen any, mean over the seeds "
        "(lowest-highest; one number: one seed). Of the frames counted, a tenth (one at "
        "least) validates. All runs: mace_tiny, universal loss, cosine schedule, and but "
        "for the number of epochs the defaults of mace-train and of its "
        "experiment=finetune. A line with a comma has the setting that it names instead. "
        "Batches of replay hold as many of the parent's frames besides.",
        "",
        "![forces errors](finetune.png)",
    ]
    for name, parent in results["parents"].items():
        errors = Errors(results["rows"], TASKS[name])
        if errors.lines:
            lines += _task_lines(errors, parent)
    return "\n".join(lines) + "\n"


def _task_lines(errors: Errors, parent: dict[str, Any]) -> Iterator[str]:
    task, (fewest, most) = errors.task, errors.steps
    old, new = (1000 * parent[test]["forces"] for test in ("old", "new"))
    yield from ("", f"## {task.new}, parent trained on {task.old}", "")
    steps = f"{fewest}" if fewest == most else f"{fewest}-{most}"
    yield (
        f"{steps} steps of {task.batch_size} frames. The parent ({task.parent_epochs} "
        f"epochs) has {old:.1f} meV/Å on its own test frames, {new:.0f} on the new ones."
    )
    yield from _table(errors, "Forces on the new test frames, meV/Å", "new", "forces")
    key = "energy_per_atom"
    yield from _table(errors, "Energy on the new test frames, meV/atom", "new", key)
    title = f"Forces on the parent's test frames, meV/Å (the parent: {old:.1f})"
    yield from _table(errors, title, "old", "forces")
    yield ""
    yield from ("Ratios of forces errors:", "")
    yield from (f"- {goal}" for goal in _goals(errors, old))


def _table(errors: Errors, title: str, test: str, key: str) -> Iterator[str]:
    sizes = errors.task.sizes
    yield from ("", f"| {title} | " + " | ".join(map(str, sizes)) + " |")
    yield "|---" * (len(sizes) + 1) + "|"
    for line in errors.lines:
        cells = [_cell(errors.values(line, size, test, key)) for size in sizes]
        if any(cell != "-" for cell in cells):
            yield f"| {line} | " + " | ".join(cells) + " |"


def _cell(values: list[float]) -> str:
    if not values:
        return "-"
    mean = _number(float(np.mean(values)))
    if len(values) == 1:
        return mean
    return f"{mean} ({_number(min(values))}-{_number(max(values))})"


def _number(value: float) -> str:
    """Three digits, more before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _goals(errors: Errors, parent: float) -> Iterator[str]:
    """What has been asked for, with a yes or no."""
    lines = [line for line in errors.lines if line.startswith(("full", "lora"))]
    for line, size in product(lines, errors.task.sizes):
        if line in LONGER:
            continue
        what = f"{line}, {size} frames, against from nothing with {{}}"
        ratio = errors.mean(line, size) / errors.mean(FROM_NOTHING, size)
        is_asked = errors.task.name == "lithium" or size == max(errors.task.sizes)
        yield from _goal(what.format("as many"), ratio, limit=1.0 if is_asked else None)
        if (errors.task.name, size) == ("acetylacetone", 30):
            ratio = errors.mean(line, 30) / errors.mean(FROM_NOTHING, 100)
            yield from _goal(what.format(100), ratio, limit=1.0)
    for line, size in product(errors.lines, errors.task.sizes):
        ratio = errors.mean(line, size, "old") / parent
        if line.startswith("replay"):
            what = f"the parent's task after {line}, {size} frames, against the parent"
            yield from _goal(what, ratio, limit=FORGOTTEN)


def _goal(what: str, ratio: float, *, limit: float | None) -> Iterator[str]:
    """A line, if there are runs for it."""
    if np.isfinite(ratio):
        verdict = "met" if limit is not None and ratio <= limit else "missed"
        yield f"{what}: {ratio:.2f}" + ("" if limit is None else f" - {verdict}")
