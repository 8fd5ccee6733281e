"""The physical checks of ``mace-check`` on the parent and on the fine-tuned model.

Floor 5. A quick choice of checks, on the user's structures and the pairs of their elements:
what was physical before should be so afterwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mace_train.model.backends import chosen_backend
from mace_train.physics.limits import limits_for
from mace_train.physics.pairs import default_pairs
from mace_train.physics.setting import Setting
from mace_train.physics.structures import choose_structures
from mace_train.physics.suite import run_checks
from mace_train.training.checked_model import potential_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ase import Atoms

    from mace_train.model.mace import MACE
    from mace_train.physics.outcome import Measurement, Outcome

QUICK_CHECKS = ("rotation", "forces", "stress", "cutoff", "dimers", "volumes", "nve")
"""What weights can spoil, directly or by rounding; the other laws hold by construction."""

_NUM_STRUCTURES, _MAX_ATOMS = 2, 24
_NVE_STEPS = 50


@dataclass(frozen=True)
class ChecksBeforeAfter:
    """Outcomes of the same checks on two models.

    Attributes:
        before: Of the parent.
        after: Of the fine-tuned model, in the same order.
    """

    before: tuple[Outcome, ...]
    after: tuple[Outcome, ...]

    @property
    def newly_failed(self) -> list[str]:
        """Checks that the parent passed and the fine-tuned model does not."""
        return [
            after.check
            for before, after in zip(self.before, self.after)
            if before.state == "ok" and after.state == "FAILED"
        ]

    def table(self) -> str:
        """Worst number of each check before and after, with unit and limit."""
        rows = [("check", "parent", "", "fine-tuned", "", "unit", "limit")]
        for before, after in zip(self.before, self.after):
            worst = after.worst or before.worst
            limit = "" if worst is None or worst.limit is None else f"{worst.limit:.3g}"
            what = "" if worst is None else f"{worst.unit} ({worst.quantity})".strip()
            numbers = (
                _number(_same_quantity(before, worst)),
                before.state,
                _number(worst if after.findings else None),
                after.state,
            )
            rows.append((after.check, *numbers, what, limit))
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths)) for row in rows)
        return "\n".join(line.rstrip() for line in lines)

    def warning(self, checkpoint: Path) -> str | None:
        """What to say where a check fails that the parent passed.

        Args:
            checkpoint: File of the fine-tuned model.
        """
        if not self.newly_failed:
            return None
        failed = [one for one in self.after if one.check in self.newly_failed]
        told = ", ".join(
            f"{one.check} ({_number(one.worst)} {one.worst.unit}".rstrip() + ")"
            if one.worst
            else f"{one.check} ({one.reason})"
            for one in failed
        )
        return (
            f"the parent passed checks of the physics that the fine-tuned model fails: "
            f"{told}. For details and cures: mace-check checkpoint={checkpoint}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, by check."""
        checks = {
            after.check: {"before": before.as_dict(), "after": after.as_dict()}
            for before, after in zip(self.before, self.after)
        }
        return {"checks": checks, "newly_failed": self.newly_failed}


def check_before_after(
    parent: MACE,
    tuned: MACE,
    structures: Sequence[Atoms],
    *,
    parent_head: str | None = None,
    head: str | None = None,
    names: Sequence[str] = QUICK_CHECKS,
    tell: Callable[[str], None] | None = None,
) -> ChecksBeforeAfter:
    """Make the same checks of two models, each in its own dtype.

    Args:
        parent: As it came; both models are left as they are.
        tuned: The fine-tuned model.
        structures: The user's; a few small ones are chosen, with elements both know.
        parent_head: Head of the parent; None: the only one.
        head: Head of the fine-tuned model; None: the only one.
        names: Which checks, see `physics.suite`.
        tell: Is told what is being computed.

    Raises:
        ValueError: If there is no structure, or a head is missing or unknown.
    """
    if not structures:
        raise ValueError("there is no structure to check the models on")
    chosen = choose_structures(structures, count=_NUM_STRUCTURES, max_atoms=_MAX_ATOMS)
    numbers = sorted({int(number) for atoms in structures for number in atoms.numbers})
    pairs, note = default_pairs(numbers)

    def outcomes(model: MACE, its_head: str | None, who: str) -> tuple[Outcome, ...]:
        def tell_of(name: str) -> None:
            if tell is not None:
                tell(f"{name} ({who})")

        potential = potential_of(model, head=its_head)
        setting = Setting(
            potential,
            tuple(chosen),
            limits_for(potential.dtype),
            pairs=pairs,
            pairs_note=note,
            nve_steps=_NVE_STEPS,
            tell=tell_of,
        )
        was_training, backend = model.training, model.backend
        device = next(model.parameters()).device
        model.eval().backend = chosen_backend(backend, device)  # else a GPU would compile
        try:
            return tuple(run_checks(setting, names))
        finally:
            model.train(was_training).backend = backend

    return ChecksBeforeAfter(
        outcomes(parent, parent_head, "parent"), outcomes(tuned, head, "fine-tuned")
    )


def _same_quantity(outcome: Outcome, worst: Measurement | None) -> Measurement | None:
    """What another model measured of the quantity that is shown."""
    if outcome.findings is None or worst is None:
        return None
    found = [m for m in outcome.findings.measurements if m.quantity == worst.quantity]
    return max(found, key=lambda one: one.share_of_limit, default=None)


def _number(measured: Measurement | None) -> str:
    if measured is None:
        return "-"
    return f"{measured.value:.2g}" if math.isfinite(measured.value) else "not finite"
