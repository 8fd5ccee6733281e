"""How checks are shown: a table, and what to do where one failed.

Floor 6.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mace_train.physics.outcome import Outcome

_WIDTH = 110
_TURNED = (
    "the potential is not invariant; if float32 is rounding only, dtype=float64 passes"
)
_REACH = "the potential sees further than r_max and num_interactions say"
ADVICE = {
    "rotation": _TURNED,
    "reflection": _TURNED,
    "translation": _TURNED,
    "permutation": _TURNED,
    "wrapping": _TURNED,
    "forces": "forces are not the derivative of the energy, so that dynamics drifts; "
    "if float32 is rounding only, dtype=float64 passes",
    "stress": "the stress is not the derivative of the energy: look at its sign, its unit "
    "(eV/Å³, positive in tension) and its volume",
    "supercell": "the energy is not extensive: a larger cell of the same crystal differs",
    "far_pieces": _REACH,
    "locality": _REACH,
    "cutoff": "atoms that cross r_max get a kick: take a smooth envelope",
    "dimers": "atoms that come close fall into each other: train with "
    "model.pair_repulsion=true (ZBL), and keep temperatures low until then",
    "volumes": "no equation of state: train on strained cells of this crystal, or check "
    "another with structure=FILE",
    "nve": "take dtype=float64, and look at the checks forces, cutoff and dimers",
    "probes": "this machine gives other numbers than the file was written with: compare "
    "versions (torch, mace-train), and try dtype=float64 and device=cpu",
}
"""What to do where a check failed."""
_DESPITE_REPULSION = (
    "model.pair_repulsion=true is not enough here: train on frames with close atoms"
)


def checks_table(outcomes: Sequence[Outcome]) -> str:
    """A row for each check, with the number that is nearest to its limit or beyond."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name in ("check", "value", "unit", "limit", "result", "what, where"):
        numeric = name in ("value", "limit")
        table.add_column(
            name,
            justify="right" if numeric else "left",
            no_wrap=name != "what, where",
            overflow="fold",
        )
    for outcome in outcomes:
        table.add_row(*_cells(outcome))
    text = io.StringIO()
    Console(file=text, width=_WIDTH, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().strip("\n").splitlines())


def notes_of(outcomes: Sequence[Outcome]) -> list[str]:
    """What checks have to say besides their numbers, a line each."""
    return [
        f"{outcome.check}: {note}"
        for outcome in outcomes
        if outcome.findings
        for note in outcome.findings.notes
    ]


def failure_message(outcomes: Sequence[Outcome], *, has_repulsion: bool = False) -> str:
    """Which checks failed, by how much, and what to do.

    Args:
        outcomes: Of all checks.
        has_repulsion: Whether the model has the repulsion of nuclei that would help.
    """
    failed = [outcome for outcome in outcomes if outcome.state == "FAILED"]
    made = [outcome for outcome in outcomes if outcome.state != "left out"]
    lines = [f"{len(failed)} of {len(made)} checks failed"]
    for outcome in failed:
        lines.append(f"  {outcome.check}: {_wrong_number(outcome)}")
        is_helped = has_repulsion and outcome.check == "dimers"
        lines.append(f"    {_DESPITE_REPULSION if is_helped else ADVICE[outcome.check]}")
    return "\n".join(lines)


def _cells(outcome: Outcome) -> tuple[str, ...]:
    worst = outcome.worst
    if worst is None:
        return outcome.check, "", "", "", outcome.state, outcome.reason
    limit = "" if worst.limit is None else f"{worst.limit:.3g}"
    where = f"{worst.quantity}, {worst.where}" if worst.where else worst.quantity
    return outcome.check, f"{worst.value:.2g}", worst.unit, limit, outcome.state, where


def _wrong_number(outcome: Outcome) -> str:
    worst = outcome.worst
    if worst is None:
        return f"the calculator failed: {outcome.reason}"
    unit = f" {worst.unit}" if worst.unit else ""
    limit = f"the limit is {worst.limit:.3g}"
    where = f" ({worst.where})" if worst.where else ""
    return f"{worst.quantity} {worst.value:.3g}{unit}{where}, {limit}"
