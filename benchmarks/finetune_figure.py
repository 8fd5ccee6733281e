"""The figure of `finetune.py`: forces errors by number of frames, new task and old one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_report import Errors
from finetune_runs import FROM_NOTHING, TASKS
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from mace_train.training.figures import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLES = {
    FROM_NOTHING: ("#777777", "s"),
    "full": ("#1f5fa8", "o"),
    "full, lr 1e-2": ("#4da3e0", "o"),
    "replay": ("#c8553d", "^"),
    "replay, lr 1e-2": ("#e0a030", "v"),
    "lora": ("#3d8b5f", "D"),
    "freeze": ("#8e5ea2", "P"),
}


def draw(path: Path, results: dict[str, Any]) -> None:
    """Draw a panel for each task and test that has runs.

    Args:
        path: PNG file to write.
        results: As they are kept.
    """
    panels = []
    for name, parent in results["parents"].items():
        errors = Errors(results["rows"], TASKS[name])
        if errors.lines:
            task = TASKS[name]
            panels.append((errors, "new", f"{task.name}: learned", None))
            if name == "acetylacetone":
                level = 1000 * parent["old"]["forces"]
                panels.append((errors, "old", f"{task.name}: 3BPA kept", level))
    with rc_context(STYLE):
        figure = Figure(figsize=(3.7 * len(panels), 3.8), layout="constrained")
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, panel in zip(grid, panels):
            _draw_panel(axes, *panel)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=7)
        figure.savefig(path)


def _draw_panel(
    axes: Axes, errors: Errors, test: str, title: str, level: float | None
) -> None:
    for line, (color, marker) in _STYLES.items():
        found = [(s, v) for s in errors.task.sizes if (v := errors.values(line, s, test))]
        if not found:
            continue
        sizes = [size for size, _ in found]
        means = [sum(values) / len(values) for _, values in found]
        below = [mean - min(values) for mean, (_, values) in zip(means, found)]
        above = [max(values) - mean for mean, (_, values) in zip(means, found)]
        axes.errorbar(
            sizes, means, yerr=[below, above], color=color, marker=marker, capsize=3,
            markersize=5, linewidth=1.4, label=line,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    if level is not None:
        axes.set_ylim(bottom=0.7 * level)
        axes.axhline(level, color="#444444", linewidth=1, linestyle="--")
        axes.annotate(
            "parent", (errors.task.sizes[-1], level), xytext=(0, -4),
            textcoords="offset points", ha="right", va="top", fontsize=9,
        )  # fmt: skip
    axes.set_title(title, loc="left")
    axes.set_xlabel("frames for fine-tuning")
    axes.set_ylabel("forces RMSE (meV/Å)")
    axes.set_xticks(errors.task.sizes, [str(size) for size in errors.task.sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    ticks = [v for v in (5, 10, 20, 30, 50, 100, 200, 300, 500, 1000) if low <= v <= high]
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, color="#ececec", linewidth=0.6)
