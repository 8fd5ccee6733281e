"""`metrics.csv`: what every epoch of a run came to, one row each.

Floor 3. Rows are written as epochs end; on a resume, rows beyond the checkpoint are cut, so
that the file always tells of one uninterrupted run.
"""

from __future__ import annotations

import csv
import io
import os
from typing import TYPE_CHECKING

from mace_train.training.metrics import QUANTITIES
from mace_train.training.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COLUMNS: tuple[str, ...] = (
    "epoch",
    "step",
    "stage",
    "lr",
    "train/loss",
    "valid/loss",
    *(f"valid/{name}_{statistic}" for name in QUANTITIES for statistic in ("mae", "rmse")),
    "seconds",
    "frames_per_second",
    "timing/data",
    "timing/compute",
    "timing/communication",
)
"""Epoch from 0, optimizer steps so far, stage, learning rate of the last step, losses,
errors in eV/atom, eV/Å and eV/Å^3, wall time with the validation, speed of training, and
the shares of its time that steps waited for data, computed and waited for other ranks."""

Row = dict[str, float | int | None]


class History:
    """The file of a run's epochs.

    Args:
        path: The CSV file; it and its folder are made when the first row comes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[Row]:
        """All complete rows, in order.

        An empty cell is None, and so is one of a column that an older file lacks.
        """
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return [
                _parsed(row) for row in csv.DictReader(file) if None not in row.values()
            ]

    def begin(self, num_epochs: int) -> None:
        """Keep the rows of the first epochs and drop the others; 0 begins a new file.

        Args:
            num_epochs: Epochs that the run has finished.
        """
        kept = [row for row in self.rows() if (row["epoch"] or 0) < num_epochs]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = [dict(zip(COLUMNS, COLUMNS)), *kept]
        write_whole(self.path, "".join(map(_formatted, rows)))

    def append(self, row: Mapping[str, float | int | None]) -> None:
        """Add the row of an epoch, with a value (or None) for each of `COLUMNS`."""
        assert set(row) == set(COLUMNS), set(row) ^ set(COLUMNS)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_formatted(row))
            file.flush()
            os.fsync(file.fileno())


def _formatted(row: Mapping[str, object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(
        ["" if row[name] is None else row[name] for name in COLUMNS]
    )
    return line.getvalue()


def _parsed(row: Mapping[str, str]) -> Row:
    whole = ("epoch", "step", "stage")
    return {
        name: (int if name in whole else float)(cell) if (cell := row.get(name)) else None
        for name in COLUMNS
    }
