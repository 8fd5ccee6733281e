"""The figure of a run: temperature, drift, closest atoms, g(r) and how far atoms went.

Floor 3. Drawn with matplotlib's Agg canvas and without pyplot, so that nothing global
changes and no display is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.io import read
from matplotlib import rc_context
from matplotlib.figure import Figure

from mace_train.simulation.records import TRAJECTORY, read_log
from mace_train.simulation.structure import mean_square_displacement, radial_distribution

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase import Atoms
    from matplotlib.axes import Axes

_RC: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#ececec",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "savefig.dpi": 150,
}
_LINE, _FAINT, _TARGET, _COLD, _HOT = "#1f5fa8", "#b5d0ec", "#c0392b", "#1f5fa8", "#d9731a"
_MEANS = 150  # windows of a running mean along a run
_WINDOW = 0.1  # share of the run at either end whose frames make a g(r)
_MAX_RADIUS = 6.0  # Å


def draw_run(path: Path, folder: Path) -> None:
    """Draw the whole run that lies in a folder.

    Args:
        path: PNG file to write.
        folder: Of an `MDRun`.

    Raises:
        ValueError: If the folder has no log, or the trajectory has no frame yet.
    """
    log = read_log(folder)
    trajectory = folder / TRAJECTORY
    if not trajectory.is_file() or trajectory.stat().st_size == 0:
        raise ValueError(f"{trajectory} has no frame yet: run longer, then draw")
    frames: list[Atoms] = read(trajectory, index=":")  # pyright: ignore[reportAssignmentType]
    times = np.array([frame.info["time_ps"] for frame in frames])
    with rc_context(_RC):
        figure = Figure(figsize=(10.5, 6.4), layout="constrained")
        halves = figure.subfigures(1, 2, width_ratios=(1.7, 1), squeeze=False)[0]
        left = halves[0].subplots(3, 1, sharex=True)
        _draw_temperature(left[0], log)
        _draw_drift(left[1], log)
        _draw_distance(left[2], log)
        left[-1].set(xlim=(0.0, log["time_ps"][-1] or 1.0), xlabel="time (ps)")
        right = halves[1].subplots(2, 1)
        _draw_distribution(right[0], log, frames, times)
        _draw_displacement(right[1], frames, times)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        figure.savefig(partial, format="png", bbox_inches="tight", pad_inches=0.1)
    partial.replace(path)


def _draw_temperature(axes: Axes, log: Mapping[str, np.ndarray]) -> None:
    _draw_series(axes, log["time_ps"], log["temperature_K"])
    axes.plot(log["time_ps"], log["target_K"], color=_TARGET, linewidth=1.1, label="target")
    if np.isfinite(log["target_K"]).any():
        axes.legend(loc="upper left")
    axes.set_ylabel("K")
    axes.set_title("temperature", loc="left")


def _draw_drift(axes: Axes, log: Mapping[str, np.ndarray]) -> None:
    _draw_series(axes, log["time_ps"], log["drift_meV_per_atom"])
    axes.axhline(0.0, color="#444444", linewidth=0.6)
    axes.set_ylabel("meV/atom")
    axes.set_title("drift: energy less the thermostat's heat, since the start", loc="left")


def _draw_distance(axes: Axes, log: Mapping[str, np.ndarray]) -> None:
    _draw_series(axes, log["time_ps"], log["min_distance_A"])
    axes.set_ylabel("Å")
    axes.set_title("smallest distance of two atoms", loc="left")


def _draw_series(axes: Axes, times: np.ndarray, values: np.ndarray) -> None:
    """Every value in a faint color, and their running mean."""
    axes.plot(times, values, color=_FAINT, linewidth=0.6)
    width = len(values) // _MEANS
    if width < 2:
        axes.lines[-1].set_color(_LINE)
        return
    means = np.convolve(values, np.full(width, 1.0 / width), mode="valid")
    centers = np.convolve(times, np.full(width, 1.0 / width), mode="valid")
    axes.plot(centers, means, color=_LINE, linewidth=1.2)


def _draw_distribution(
    axes: Axes, log: Mapping[str, np.ndarray], frames: list[Atoms], times: np.ndarray
) -> None:
    """g(r) of the beginning and the end of the run."""
    axes.set_title("radial distribution g(r)", loc="left")
    axes.set_xlabel("r (Å)")
    if not frames[0].pbc.all():
        axes.text(0.5, 0.5, "no periodic cell", transform=axes.transAxes, ha="center")
        return
    heights = 1.0 / np.linalg.norm(np.linalg.inv(frames[0].cell.array), axis=0)
    r_max = min(_MAX_RADIUS, 0.5 * float(heights.min()))
    end = times[-1]
    for low, high, color in (
        (0.02 * end, _WINDOW * end, _COLD),
        ((1 - _WINDOW) * end, end, _HOT),
    ):
        chosen = [f for f, time in zip(frames, times) if low <= time <= high] or frames[-1:]
        rows = (log["time_ps"] >= low) & (log["time_ps"] <= high)
        r, g = radial_distribution(chosen, r_max=r_max, num_bins=round(r_max / 0.03))
        kelvin = (
            log["temperature_K"][rows].mean() if rows.any() else log["temperature_K"][-1]
        )
        label = f"{low:.3g} to {high:.3g} ps, {kelvin:.0f} K"
        axes.plot(r, g, color=color, linewidth=1.3, label=label)
    axes.set(xlim=(1.0, r_max), ylim=(0.0, 1.3 * axes.get_ylim()[1]))
    axes.legend(loc="upper right")


def _draw_displacement(axes: Axes, frames: list[Atoms], times: np.ndarray) -> None:
    squares = mean_square_displacement(frames)
    _draw_series(axes, times, squares)
    axes.set(xlim=(0.0, times[-1] or 1.0), ylim=(0.0, None), xlabel="time (ps)")
    axes.set_ylabel("Å²")
    axes.set_title("mean square displacement", loc="left")
