"""What is compared before and after fine-tuning, and what came out: records.

Floor 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mace_train.training.errors import Results
    from mace_train.training.frame_set import FrameSet

Reference = Literal["new", "parent", "unknown"]
"""Whose E0s the labels' energies contain: the fine-tuned model's, the parent's, or those of
the two that fit the parent better."""

_ROUNDING = 1e-5  # eV, eV/Å: errors below are those of float32, not of a model


@dataclass(frozen=True)
class ComparedSet:
    """Frames on which two models are compared.

    Attributes:
        name: In the table: ``valid`` or ``guard``.
        frames: With labels.
        heads: Heads of the fine-tuned model that are compared with the parent, a row each.
        origin: What the frames are, in words.
        reference: Whose E0s the energies of the labels contain.
    """

    name: str
    frames: FrameSet
    heads: tuple[str, ...]
    origin: str = ""
    reference: Reference = "new"


@dataclass(frozen=True)
class ComparedErrors:
    """The errors of both models on one set, by one head.

    Attributes:
        set_name: Name of the set.
        head: Of the fine-tuned model.
        origin: What the frames are.
        before: The parent's eight numbers, with E0s of the labels' reference; eV and Å.
        after: Those of the fine-tuned model; None: its predictions are not finite.
        as_it_came: Those of the parent with its own E0s, where these are others.
        mean_force: Mean size of a component of the labels' forces, eV/Å; None: no forces.
    """

    set_name: str
    head: str
    origin: str
    before: Results
    after: Results | None
    as_it_came: Results | None
    mean_force: float | None

    def ratio(self, key: str) -> float | None:
        """After over before; None where one is missing, or before is only rounding.

        Args:
            key: Of results.json, e.g. ``forces_mae``.
        """
        before, after = self.before[key], (self.after or {}).get(key)
        if before is None or before < _ROUNDING or after is None:
            return None
        return after / before


@dataclass(frozen=True)
class BeforeAfter:
    """What has been learned, and what has been forgotten.

    Attributes:
        rows: Of each set and head.
        notes: What has to be said of the numbers, a line each.
    """

    rows: tuple[ComparedErrors, ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, in eV and Å; ``sets`` is a list of rows."""
        keys = [key for key in self.rows[0].before if not key.startswith("num_")]
        rows = [
            {
                "set": row.set_name,
                "head": row.head,
                "origin": row.origin,
                "before": row.before,
                "after": row.after,
                "parent_as_it_came": row.as_it_came,
                "ratio": {key: row.ratio(key) for key in keys},
                "mean_force": row.mean_force,
            }
            for row in self.rows
        ]
        return {"sets": rows, "notes": list(self.notes)}


def milli_text(value: float | None) -> str:
    """An error times 1000, with three digits or none behind the point; rounding is 0.

    Args:
        value: In eV and Å; None: not finite.

    >>> milli_text(0.0345), milli_text(2.7336), milli_text(1e-9)
    ('34.5', '2734', '0')
    """
    if value is None:
        return "not finite"
    if value < _ROUNDING:
        return "0"
    return f"{1000 * value:.0f}" if value >= 0.1 else f"{1000 * value:.3g}"
