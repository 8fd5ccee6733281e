"""`metrics.csv`: what every epoch of a run came to, one row each.

Floor 4. Rows are written as epochs end; on a resume, rows beyond the checkpoint are cut, so
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
    from collections.abc import Mapping, Sequence
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
        more_columns: What callbacks measure, behind `COLUMNS`.

    Attributes:
        columns: Those of the file; those that an earlier run of it had stay.
    """

    def __init__(self, path: Path, *, more_columns: Sequence[str] = ()) -> None:
        self.path = path
        self.columns = (*COLUMNS, *more_columns)

    def rows(self) -> list[Row]:
        """All complete rows, in order.

        An empty cell is None, and so is one of a column that an older file lacks.
        """
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            added = [name for name in reader.fieldnames or () if name not in self.columns]
            names = (*self.columns, *added)
            return [_parsed(row, names) for row in reader if None not in row.values()]

    def begin(self, num_epochs: int) -> None:
        """Keep the rows of the first epochs and drop the others; 0 begins a new file.

        Args:
            num_epochs: Epochs that the run has finished.
        """
        kept = [row for row in self.rows() if (row["epoch"] or 0) < num_epochs]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if kept:
            self.columns = tuple(kept[0])
        header = dict(zip(self.columns, self.columns))
        write_whole(self.path, "".join(self._formatted(row) for row in [header, *kept]))

    def append(self, row: Mapping[str, float | int | None]) -> None:
        """Add the row of an epoch, with all of `COLUMNS` and perhaps the others."""
        assert set(COLUMNS) <= set(row) <= set(self.columns), set(row) ^ set(self.columns)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(self._formatted(row))
            file.flush()
            os.fsync(file.fileno())

    def _formatted(self, row: Mapping[str, object]) -> str:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(
            ["" if row.get(name) is None else row[name] for name in self.columns]
        )
        return line.getvalue()


def _parsed(row: Mapping[str, str], names: Sequence[str]) -> Row:
    whole = ("epoch", "step", "stage")
    return {
        name: (int if name in whole else float)(cell) if (cell := row.get(name)) else None
        for name in names
    }
