"""What each stage of a run came to, in numbers.

Floor 3. Read from the run's folder, so that it can be asked at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from ase.io import read

from mace_train.simulation.records import TRAJECTORY, read_log
from mace_train.simulation.structure import bond_lengths

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

    from mace_train.simulation.schedule import Stage, TemperatureSchedule

_SETTLING = 0.1  # share of a stage that is left out of the temperature and the drift
_BROKEN = 1.35  # a bond so many times as long as at first is none


@dataclass(frozen=True)
class StageSummary:
    """One stage of a run.

    Attributes:
        stage: As it was asked for.
        temperature: Mean, K.
        drift_rate: Slope of the conserved energy, meV/atom/ps.
        min_distance: Smallest distance of two atoms in any row of the log, Å; NaN if no two
            were near each other.
        bond_length: Mean length of the bonds of the first frame, Å.
        bonds_kept: Share of them that is still there in the last frame of the stage.
    """

    stage: Stage
    temperature: float
    drift_rate: float
    min_distance: float
    bond_length: float
    bonds_kept: float

    def __str__(self) -> str:
        return (
            f"{self.stage!s:<13} {self.temperature:7.1f} K  "
            f"drift {self.drift_rate:+.4f} meV/atom/ps  "
            f"closest {self.min_distance:.3f} Å  bonds {self.bond_length:.4f} Å, "
            f"{100 * self.bonds_kept:.1f} % kept"
        )


def summarize(folder: Path, schedule: TemperatureSchedule) -> list[StageSummary]:
    """The stages of which there are frames, in order.

    Args:
        folder: Of an `MDRun`.
        schedule: Of that run.

    Raises:
        ValueError: If the folder has no log, or no two atoms were near each other.
    """
    log = read_log(folder)
    frames: list[Atoms] = read(folder / TRAJECTORY, index=":")  # pyright: ignore[reportAssignmentType]
    times = np.array([frame.info["time_ps"] for frame in frames])
    lengths = bond_lengths(frames, first=frames[0])
    summaries, begin = [], 0.0
    for stage in schedule.stages:
        end = begin + stage.picoseconds
        settled = begin + _SETTLING * stage.picoseconds
        rows = (log["time_ps"] >= settled) & (log["time_ps"] <= end)
        seen = (times >= settled) & (times <= end)
        if rows.sum() >= 2 and seen.any():
            drift = np.polyfit(log["time_ps"][rows], log["drift_meV_per_atom"][rows], 1)
            distances = log["min_distance_A"][rows]
            known = distances[np.isfinite(distances)]
            summaries.append(
                StageSummary(
                    stage=stage,
                    temperature=float(log["temperature_K"][rows].mean()),
                    drift_rate=float(drift[0]),
                    min_distance=float(known.min()) if len(known) else float("nan"),
                    bond_length=float(lengths[seen].mean()),
                    bonds_kept=float((lengths[seen][-1] < _BROKEN * lengths[0]).mean()),
                )
            )
        begin = end
    return summaries
