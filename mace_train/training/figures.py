"""The figures of a run: learning curves and parity plots, as PNG files.

Floor 4. Drawn with matplotlib's Agg canvas and without pyplot, so that nothing global
changes and no display is needed.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from mace_train.training.metrics import Quantity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.axes import Axes

    from mace_train.training.predictions import PredictionChunks


@dataclass(frozen=True)
class _Style:
    """How one quantity is named; errors are shown in milli-units."""

    title: str
    axis: str
    unit: str


_STYLES: dict[Quantity, _Style] = {
    "energy_per_atom": _Style("energy per atom", "energy (eV/atom)", "meV/atom"),
    "forces": _Style("force components", "force (eV/Å)", "meV/Å"),
    "stress": _Style("stress components", "stress (eV/Å³)", "meV/Å³"),
}
_LINES: tuple[tuple[str, str], ...] = (("train", "#8c8c8c"), ("valid", "#1f5fa8"))
_POINTS, _DIAGONAL = "#1f5fa8", "#c0392b"
_DENSITY = LinearSegmentedColormap.from_list("density", ["#a9c9ea", "#1f5fa8", "#06203f"])
_FEW_POINTS = 1500  # beyond, points hide each other and density says more
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "savefig.dpi": 150,
}
"""Of all figures of a run, for matplotlib's ``rc_context``."""


def draw_parity(
    path: Path, quantity: Quantity, predictions_by_split: Mapping[str, PredictionChunks]
) -> bool:
    """Draw predicted against reference values, a panel for each split that has the label.

    Args:
        path: PNG file to write.
        quantity: What to compare.
        predictions_by_split: E.g. of train, valid and test.

    Returns:
        False, and no file, if no split has the label.
    """
    pairs_by_split = {
        name: (reference.ravel(), predicted.ravel())
        for name, predictions in predictions_by_split.items()
        for reference, predicted in [predictions.pairs(quantity)]
        if len(reference)
    }
    if not pairs_by_split:
        return False
    values = np.concatenate([np.concatenate(pair) for pair in pairs_by_split.values()])
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or 0.5
    limits = (low - margin, high + margin)
    with rc_context(STYLE):
        width = 3.9 * len(pairs_by_split) + 0.4
        figure = Figure(figsize=(width, 4.1), layout="constrained")
        panels = figure.subplots(1, len(pairs_by_split), squeeze=False, sharey=True)[0]
        for axes, (name, pairs) in zip(panels, pairs_by_split.items()):
            every = predictions_by_split[name].thinning
            _draw_panel(
                axes, *pairs, limits=limits, unit=_STYLES[quantity].unit, thinning=every
            )
            axes.set_title(f"{name}: {_STYLES[quantity].title}", loc="left")
            axes.set_xlabel(f"reference {_STYLES[quantity].axis}")
        panels[0].set_ylabel(f"predicted {_STYLES[quantity].axis}")
        _save(figure, path)
    return True


def draw_learning_curves(path: Path, metrics_csv: Path) -> bool:
    """Draw loss and errors against the epoch, from the rows a run has logged.

    Args:
        path: PNG file to write.
        metrics_csv: Columns ``epoch``, ``split/loss`` and ``split/quantity_mae``; in eV and
            Å.

    Returns:
        False, and no file, if there is no row yet.
    """
    columns = _read_columns(metrics_csv)
    panels = [("loss", "loss", "", 1.0)] + [
        (f"{quantity}_mae", f"{style.title}, MAE", style.unit, 1000.0)
        for quantity, style in _STYLES.items()
    ]
    panels = [
        panel
        for panel in panels
        if any(_is_drawable(columns.get(f"{split}/{panel[0]}")) for split, _ in _LINES)
    ]
    if not panels:
        return False
    with rc_context(STYLE):
        rows, width = (1, len(panels)) if len(panels) < 4 else (2, 2)
        figure = Figure(figsize=(3.9 * width + 0.3, 2.9 * rows), layout="constrained")
        grid = figure.subplots(rows, width, squeeze=False).ravel()
        for axes, (key, title, unit, factor) in zip(grid, panels):
            for split, color in _LINES:
                _draw_line(axes, columns, f"{split}/{key}", factor=factor, color=color)
            _set_log_scale(axes)
            axes.set_title(title, loc="left")
            axes.set_ylabel(unit)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(visible=True, which="both", color="#e6e6e6", linewidth=0.6)
            axes.legend()
        _save(figure, path)
    return True


def _draw_panel(
    axes: Axes,
    reference: np.ndarray,
    predicted: np.ndarray,
    *,
    limits: tuple[float, float],
    unit: str,
    thinning: int,
) -> None:
    axes.plot(limits, limits, color=_DIAGONAL, linewidth=0.9, zorder=1)
    if len(reference) <= _FEW_POINTS:
        axes.scatter(reference, predicted, s=13, color=_POINTS, alpha=0.55, linewidths=0)
    else:
        axes.hexbin(
            reference,
            predicted,
            gridsize=90,
            extent=(*limits, *limits),
            bins="log",
            mincnt=1,
            cmap=_DENSITY,
            linewidths=0.2,
        )
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.grid(visible=True, color="#ececec", linewidth=0.6)
    errors = predicted - reference
    mae, rmse = np.abs(errors).mean(), np.sqrt(np.square(errors).mean())
    of_all = f", one of every {thinning}" if thinning > 1 else ""
    axes.text(
        0.04,
        0.96,
        f"MAE {1000 * mae:,.4g} {unit}\n"
        f"RMSE {1000 * rmse:,.4g} {unit}\n"
        f"{len(errors):,} values{of_all}",
        transform=axes.transAxes,
        va="top",
        linespacing=1.4,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2.5},
    )


def _draw_line(
    axes: Axes, columns: Mapping[str, np.ndarray], key: str, *, factor: float, color: str
) -> None:
    values = columns.get(key)
    if not _is_drawable(values):
        return
    assert values is not None
    epoch = columns.get("epoch", np.arange(len(values), dtype=float))
    known = np.isfinite(values) & (values > 0)  # a logarithm has no place for the others
    marker = "o" if known.sum() <= 40 else ""
    axes.plot(
        epoch[known],
        factor * values[known],
        color=color,
        label=key.split("/")[0],
        marker=marker,
        markersize=3,
        linewidth=1.5,
    )


def _set_log_scale(axes: Axes) -> None:
    """A logarithmic axis with ticks at 1, 2 and 5 in plain figures."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))


def _is_drawable(values: np.ndarray | None) -> bool:
    return values is not None and bool((np.isfinite(values) & (values > 0)).any())


def _read_columns(metrics_csv: Path) -> dict[str, np.ndarray]:
    """Columns of numbers; an empty or foreign cell is NaN."""
    if not metrics_csv.is_file():
        return {}
    with metrics_csv.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in (rows[0] if rows else {}) if name]
    return {name: np.array([_number(row.get(name)) for row in rows]) for name in names}


def _number(text: str | None) -> float:
    try:
        return float(text) if text else np.nan
    except ValueError:
        return np.nan


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png", bbox_inches="tight", pad_inches=0.1)
    partial.replace(path)
