"""The figure of a check: dimer curves, cutoff, energy against volume, conserved energy.

Floor 3. Drawn with matplotlib's Agg canvas and without pyplot, so that nothing global
changes and no display is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from mace_train.physics.outcome import Curve, Outcome

_COLORS = (
    "#1f5fa8", "#e08214", "#2d8a57", "#8856a7", "#b8860b",
    "#17868c", "#6b6b6b", "#a0522d", "#5b7fbd", "#7a9a01",
)  # fmt: skip
_WRONG = "#c0392b"
_RC: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.axisbelow": True,
    "axes.prop_cycle": f"cycler('color', {list(_COLORS)})",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "savefig.dpi": 150,
}
_TITLES = {
    "dimers": ("two atoms", "distance (Å)", "energy (eV)"),
    "cutoff": ("two atoms at the cutoff", "distance (Å)", "force (meV/Å)"),
    "volumes": ("energy against volume", "volume (Å³/atom)", "energy (eV/atom)"),
    "nve": ("total energy in dynamics", "time (ps)", "energy (meV/atom)"),
}
_LINEAR = (
    10.0  # eV: up to here the energies of dimers are drawn as they are, then by decades
)


def draw_checks(path: Path, outcomes: Sequence[Outcome], *, title: str) -> bool:
    """Draw the curves that checks have found, a panel for each check that has any.

    Args:
        path: PNG file to write.
        outcomes: Of all checks.
        title: E.g. the name of the model.

    Returns:
        False, and no file, if there is no curve.
    """
    by_name = {o.check: o for o in outcomes if o.findings and o.findings.curves}
    drawn = [by_name[name] for name in _TITLES if name in by_name]
    if not drawn:
        return False
    with rc_context(_RC):
        columns = min(2, len(drawn))
        rows = (len(drawn) + 1) // 2
        figure = Figure(figsize=(5.2 * columns, 3.5 * rows + 0.3), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, outcome in zip(panels, drawn):
            _draw_panel(axes, outcome)
        for axes in panels[len(drawn) :]:
            axes.set_axis_off()
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        figure.savefig(partial, format="png", bbox_inches="tight", pad_inches=0.1)
        partial.replace(path)
    return True


def _draw_panel(axes: Axes, outcome: Outcome) -> None:
    assert outcome.findings is not None
    title, x_name, y_name = _TITLES[outcome.check]
    curves = outcome.findings.curves
    factor = 1000.0 if outcome.check == "cutoff" else 1.0
    for curve in curves:
        points = "o" if outcome.check == "volumes" else None
        axes.plot(
            curve.x,
            factor * np.asarray(curve.y),
            label=curve.label,
            linewidth=1.3,
            marker=points,
            markersize=3,
        )
    color = _WRONG if outcome.state == "FAILED" else "black"
    axes.set_title(f"{title}: {outcome.state}", loc="left", color=color)
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.6)
    if outcome.check == "dimers":
        _mark_holes(axes, curves)
    if outcome.check == "cutoff":
        middle = float(np.mean(curves[0].x))
        axes.axvline(middle, color="#8c8c8c", linewidth=0.9, linestyle="--", zorder=1)
    if len(curves) > 1 or outcome.check == "dimers":
        axes.legend(ncols=2 if len(curves) > 5 else 1)


def _mark_holes(axes: Axes, curves: Sequence[Curve]) -> None:
    """Energies by decades beyond some eV, and a cross where each hole begins."""
    finite = np.concatenate([curve.y[np.isfinite(curve.y)] for curve in curves])
    if len(finite) and np.abs(finite).max() > 2 * _LINEAR:
        axes.set_yscale("symlog", linthresh=_LINEAR, linscale=1.6)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.axhline(0.0, color="#8c8c8c", linewidth=0.9, zorder=1)
    marks = [
        (curve.marked, float(np.interp(curve.marked, curve.x, curve.y)))
        for curve in curves
        if curve.marked is not None
    ]
    if marks:
        label = "a hole begins"
        axes.plot(*zip(*marks), "x", color=_WRONG, markersize=8, label=label, mew=2)
