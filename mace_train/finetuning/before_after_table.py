"""How a comparison of two models is shown: a table for the log, and the verdict in words.

Floor 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mace_train.finetuning.compared import milli_text
from mace_train.training.metrics import QUANTITIES
from mace_train.training.report import TITLES, in_milli, titled_columns

if TYPE_CHECKING:
    from mace_train.finetuning.compared import BeforeAfter, ComparedErrors
    from mace_train.training.errors import Results

_FORGOTTEN = 0.25
"""From this share of the mean force on, a change on the guard is called forgetting."""

_WORSE = 1.01
"""From this ratio of errors on, a model is called worse: below, they differ by chance."""

_UNITS = {"energy_per_atom": "meV/atom", "forces": "meV/Å", "stress": "meV/Å³"}

_PARENT, _AS_IT_CAME, _TUNED, _RATIO = (
    "parent",
    "parent as it came",
    "fine-tuned",
    "after / before",
)


def before_after_table(compared: BeforeAfter) -> str:
    """Errors before and after as aligned text, in milli-units, with their ratio."""
    lines = [
        (row, *line, number == 0)
        for row in compared.rows
        for number, line in enumerate(_lines_of(row))
    ]
    labels = [
        ["set", *(row.set_name if first else "" for row, _, _, first in lines)],
        ["head", *(row.head if first else "" for row, _, _, first in lines)],
        [
            "frames",
            *(
                f"{row.before['num_frames']:,}" if first else ""
                for row, _, _, first in lines
            ),
        ],
        ["model", *(name for _, name, _, _ in lines)],
    ]
    blocks = [titled_columns("", [column]) for column in _left(labels)]
    for title, quantity in TITLES.items():
        columns = []
        for statistic in ("mae", "rmse"):
            key = f"{quantity}_{statistic}"
            numbers = in_milli(
                [None if results is None else results[key] for _, _, results, _ in lines]
            )
            cells = [
                _ratio(row, key) if name == _RATIO else number
                for (row, name, _, _), number in zip(lines, numbers)
            ]
            columns.append([statistic.upper(), *cells])
        blocks.append(titled_columns(title, columns))
    return "\n".join("   ".join(cells).rstrip() for cells in zip(*blocks))


def verdict(compared: BeforeAfter) -> list[str]:
    """What the numbers mean, a line each; energies and forces are mean absolute errors."""
    lines = []
    for title, key, unit in (
        ("forces", "forces_mae", "meV/Å"),
        ("energies", "energy_per_atom_mae", "meV/atom"),
    ):
        parts = [
            f"on {_place(row, compared)}: {milli_text(row.before[key])} -> "
            f"{milli_text((row.after or {}).get(key))} {unit}"
            for row in compared.rows
            if row.before[key] is not None
        ]
        if parts:
            lines.append(f"{title} {'; '.join(parts)}")
    return lines


def warnings(compared: BeforeAfter) -> list[str]:
    """What the user should know before using the model, each with what to do."""
    found = []
    for row in compared.rows:
        if row.after is None:
            found.append(
                f"the fine-tuned model predicts numbers that are not finite on "
                f"{_place(row, compared)}: do not use it; fine-tune with a smaller optim.lr"
            )
        elif row.set_name == "guard":
            found += _forgetting(row, compared)
        else:
            found += _no_gain(row, compared)
    return found


def _no_gain(row: ComparedErrors, compared: BeforeAfter) -> list[str]:
    """A set to learn from where the model got worse."""
    assert row.after is not None
    worse = []
    for quantity in QUANTITIES:
        key = f"{quantity}_mae"
        if (row.ratio(key) or 0.0) > _WORSE:
            numbers = f"{milli_text(row.before[key])} -> {milli_text(row.after[key])}"
            name = quantity.replace("_per_atom", "")
            worse.append(f"{name} {numbers} {_UNITS[quantity]}")
    if not worse:
        return []
    return [
        f"worse than the parent on {_place(row, compared)}: {', '.join(worse)}. "
        "Try a smaller recipe.lr, more epochs, or another finetune.method"
    ]


def _forgetting(row: ComparedErrors, compared: BeforeAfter) -> list[str]:
    """A guard whose forces the model no longer knows, by any of its heads."""
    share = _lost_share(row)
    others = [_lost_share(one) for one in compared.rows if one.set_name == row.set_name]
    if share < _FORGOTTEN or share > min(others):
        return []
    return [
        f"forces on {_place(row, compared)} have an error larger by {100 * share:.0f} % of "
        f"their mean size ({milli_text(row.mean_force)} meV/Å): what the parent knew there "
        "is largely lost. If the model is to be used beyond your frames, give frames of "
        "that kind, with labels or without: data.replay=FILES"
    ]


def _lost_share(row: ComparedErrors) -> float:
    """How much larger the error of forces has become, in units of the mean force."""
    before, after = row.before["forces_mae"], (row.after or {}).get("forces_mae")
    if before is None or after is None or not row.mean_force:
        return 0.0
    return (after - before) / row.mean_force


def _lines_of(row: ComparedErrors) -> list[tuple[str, Results | None]]:
    """Names of the models, and their errors."""
    lines: list[tuple[str, Results | None]] = [(_PARENT, row.before)]
    if row.as_it_came is not None:
        lines.insert(0, (_AS_IT_CAME, row.as_it_came))
    return [*lines, (_TUNED, row.after), (_RATIO, None)]


def _place(row: ComparedErrors, compared: BeforeAfter) -> str:
    """A set in words, with the head where the set has rows of several."""
    what = "the guard" if row.set_name == "guard" else "your frames"
    origin = row.origin or f"{row.before['num_frames']} of {row.set_name}"
    several = sum(other.set_name == row.set_name for other in compared.rows) > 1
    return f"{what} ({origin}; head {row.head})" if several else f"{what} ({origin})"


def _ratio(row: ComparedErrors, key: str) -> str:
    ratio = row.ratio(key)
    return "-" if ratio is None else f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0f}"


def _left(columns: list[list[str]]) -> list[list[str]]:
    """Texts padded to equal length, so that they stand at the left."""
    widths = [max(map(len, column)) for column in columns]
    return [[cell.ljust(width) for cell in c] for c, width in zip(columns, widths)]
