"""`Records`: the log and the trajectory of a run, which can be cut back to a saved state.

Floor 3. Both files only grow. A state knows how long they were when it was saved; a run
that goes on from it cuts off what was written later, and writes it again.
"""

from __future__ import annotations

import csv
import fcntl
import io
import os
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mace_train.simulation.observables import Observables

LOG = "log.csv"
TRAJECTORY = "trajectory.extxyz"
COLUMNS = (
    "step",
    "time_ps",
    "target_K",
    "temperature_K",
    "potential_eV",
    "total_eV",
    "conserved_eV",
    "drift_meV_per_atom",
    "min_distance_A",
    "pressure_GPa",
)
HEADER = (",".join(COLUMNS) + "\n").encode()


class Records:
    """The open files of a run, held by one process at a time.

    Args:
        folder: Where they are; made if it does not exist.

    Raises:
        ValueError: If another process writes there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._log = (folder / LOG).open("ab")
        self._trajectory = (folder / TRAJECTORY).open("ab")
        try:
            fcntl.lockf(self._log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            self.close()
            raise ValueError(
                f"another process runs in {folder}: wait until it has ended, or give "
                "another folder"
            ) from None
        except OSError:
            return  # a file system without locks

    def cut(self, sizes: tuple[int, int]) -> None:
        """Cut both files back to what they were.

        Args:
            sizes: What `settle` returned.

        Raises:
            ValueError: If a file is shorter than that.
        """
        for file, size in zip((self._log, self._trajectory), sizes):
            if (found := os.fstat(file.fileno()).st_size) < size:
                raise ValueError(
                    f"{file.name} has {found} bytes, but had {size} when the state beside "
                    "it was saved: put the file back, or give another folder"
                )
            file.truncate(size)
        if sizes[0] == 0:
            self._log.write(HEADER)

    def add_row(self, seen: Observables, pressure: float | None) -> None:
        """Log the numbers of a step.

        Args:
            seen: The numbers.
            pressure: GPa, where it exists.
        """
        distance = seen.closest.shortest if seen.closest else None
        cells = [
            str(seen.step),
            f"{seen.time:.6f}",
            _cell(seen.target, ".2f"),
            _cell(seen.temperature, ".3f"),
            _cell(seen.potential, ".8f"),
            _cell(seen.total, ".8f"),
            _cell(seen.conserved, ".8f"),
            _cell(seen.drift, ".6f"),
            _cell(distance, ".5f"),
            _cell(pressure, ".5f"),
        ]
        self._log.write(",".join(cells).encode() + b"\n")
        self._log.flush()

    def add_frame(self, frame: Atoms) -> None:
        """Append a frame to the trajectory.

        Args:
            frame: What `labelled_frame` made.
        """
        text = io.StringIO()
        write(text, frame, format="extxyz")
        self._trajectory.write(text.getvalue().encode())
        self._trajectory.flush()

    def settle(self) -> tuple[int, int]:
        """Bring both files to the disk, and say how long they are."""
        for file in (self._log, self._trajectory):
            file.flush()
            os.fsync(file.fileno())
        log, trajectory = (
            os.fstat(f.fileno()).st_size for f in (self._log, self._trajectory)
        )
        return log, trajectory

    def close(self) -> None:
        """Close both files."""
        self._log.close()
        self._trajectory.close()


def labelled_frame(atoms: Atoms, forces: np.ndarray, seen: Observables) -> Atoms:
    """A copy with energy and forces, as a data set for training has them.

    Args:
        atoms: Positions are written as they are, not wrapped into the cell.
        forces: eV/Å.
        seen: The numbers of this step.
    """
    frame = Atoms(
        atoms.numbers,
        positions=atoms.positions,
        momenta=atoms.get_momenta(),
        cell=atoms.cell,
        pbc=atoms.pbc,
        info={"step": seen.step, "time_ps": round(seen.time, 6)},
    )
    frame.calc = SinglePointCalculator(frame, energy=seen.potential, forces=forces.copy())
    return frame


def read_log(folder: Path) -> dict[str, np.ndarray]:
    """The columns of a run's log; an empty cell is NaN.

    Args:
        folder: Of the run.

    Raises:
        ValueError: If there is no log, or no row in it.
    """
    path = folder / LOG
    if not path.is_file():
        raise ValueError(f"{folder} has no {LOG}: it is no folder of a run")
    with path.open(newline="", encoding="utf-8") as file:
        rows: Sequence[dict[str, str]] = list(csv.DictReader(file))
    if not rows:
        raise ValueError(f"{path} has no row: the run has not begun")
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in COLUMNS}


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
