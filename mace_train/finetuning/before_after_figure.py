"""The figure of a comparison: bars of the errors before and after, for each set.

Floor 5. Drawn with matplotlib's Agg canvas and without pyplot, so that nothing global
changes and no display is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.figure import Figure

from mace_train.finetuning.compared import milli_text
from mace_train.training.figures import STYLE
from mace_train.training.metrics import QUANTITIES, Quantity
from mace_train.training.whole_file import finish_file, partial_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from mace_train.finetuning.compared import BeforeAfter, ComparedErrors

_TITLES: dict[Quantity, tuple[str, str]] = {
    "energy_per_atom": ("energy", "MAE (meV/atom)"),
    "forces": ("force components", "MAE (meV/Å)"),
    "stress": ("stress components", "MAE (meV/Å³)"),
}
_BEFORE, _AFTER = "#8c8c8c", "#1f5fa8"
_WIDTH = 0.38  # of a bar, where sets are 1 apart


def draw_before_after(path: Path, compared: BeforeAfter) -> bool:
    """Draw a panel for each quantity that has labels, with two bars for each set and head.

    Args:
        path: PNG file to write.
        compared: Errors of both models.

    Returns:
        False, and no file, if no set has labels.
    """
    panels: list[tuple[Quantity, list[ComparedErrors]]] = [
        (quantity, rows)
        for quantity in QUANTITIES
        if (rows := [r for r in compared.rows if r.before[f"{quantity}_mae"] is not None])
    ]
    if not panels:
        return False
    with rc_context(STYLE):
        widths = [max(2.4, 1.5 * len(rows) + 0.6) for _, rows in panels]
        figure = Figure(figsize=(sum(widths) + 0.3, 3.4), layout="constrained")
        grid = figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0]
        for axes, (quantity, rows) in zip(grid, panels):
            _draw_panel(axes, quantity, rows)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        partial = partial_name(path)
        figure.savefig(partial, format="png", bbox_inches="tight", pad_inches=0.1)
    finish_file(partial, path)
    return True


def _draw_panel(axes: Axes, quantity: Quantity, rows: Sequence[ComparedErrors]) -> None:
    key = f"{quantity}_mae"
    before = [row.before[key] for row in rows]
    after = [None if row.after is None else row.after[key] for row in rows]
    moved = any(row.as_it_came is not None for row in rows)
    for errors, offset, color, label in (
        (before, -_WIDTH / 2, _BEFORE, "parent, with the new E0s" if moved else "parent"),
        (after, _WIDTH / 2, _AFTER, "fine-tuned"),
    ):
        places = [place + offset for place in range(len(rows))]
        heights = [1000 * (error or 0.0) for error in errors]
        bars = axes.bar(places, heights, width=_WIDTH, color=color, label=label)
        axes.bar_label(bars, labels=list(map(milli_text, errors)), padding=2, fontsize=8)
    title, unit = _TITLES[quantity]
    axes.set_title(title, loc="left")
    axes.set_ylabel(unit)
    heads = {row.head for row in rows}
    names = [
        f"{row.set_name}\n{row.head}" if len(heads) > 1 else row.set_name for row in rows
    ]
    axes.set_xticks(range(len(rows)), names)
    axes.tick_params(axis="x", length=0)
    axes.margins(y=0.12)
    axes.set_ylim(bottom=0.0)
    axes.grid(visible=True, axis="y", color="#ececec", linewidth=0.6)
