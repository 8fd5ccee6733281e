"""`Outcome`: what a check found, in numbers with their limits, and the curves behind them.

Floor 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

State = Literal["ok", "FAILED", "left out"]


@dataclass(frozen=True)
class Measurement:
    """One number.

    Attributes:
        quantity: What it is, e.g. ``forces``.
        value: In ``unit``; NaN is beyond every limit.
        unit: E.g. ``eV/Å``.
        limit: The largest value that is right; None: the number is only reported.
        where: Which structure, atom or pair has this value.
    """

    quantity: str
    value: float
    unit: str
    limit: float | None = None
    where: str = ""

    @property
    def is_right(self) -> bool:
        """Whether the value is within its limit."""
        return self.limit is None or bool(self.value <= self.limit)

    @property
    def share_of_limit(self) -> float:
        """The value in units of its limit; infinite for NaN and beyond a limit of 0."""
        if self.limit is None:
            return -1.0
        if not math.isfinite(self.value):
            return math.inf
        if self.limit == 0:
            return math.inf if self.value > 0 else 0.0
        return self.value / self.limit


def largest(found: Iterable[tuple[float, str]]) -> tuple[float, str]:
    """The largest number and where it is; NaN is larger than all others.

    Args:
        found: At least one number, each with its place.

    >>> largest([(1.0, "a"), (float("nan"), "b"), (2.0, "c")])
    (nan, 'b')
    """
    return max(found, key=lambda one: (math.isnan(one[0]), one[0]))


@dataclass(frozen=True)
class Curve:
    """Points to be drawn.

    Attributes:
        label: Name in the legend.
        x: Abscissa, in the unit of the check's panel.
        y: Ordinate.
        marked: Abscissa of a place that is wrong, e.g. where a hole begins.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    marked: float | None = None


@dataclass(frozen=True)
class Findings:
    """What a check measured.

    Attributes:
        measurements: At least one.
        curves: To be drawn.
        notes: What has to be said of the numbers, a line each.
    """

    measurements: tuple[Measurement, ...]
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a check ended.

    Attributes:
        check: Its name.
        findings: None if it was left out, or the calculator failed.
        reason: Why there are no findings.
        state: ``ok``, ``FAILED`` or ``left out``.
        seconds: Wall time.
    """

    check: str
    state: State
    findings: Findings | None = None
    reason: str = ""
    seconds: float = 0.0

    @property
    def worst(self) -> Measurement | None:
        """The measurement that is nearest to its limit, or furthest beyond."""
        if self.findings is None:
            return None
        return max(self.findings.measurements, key=lambda one: one.share_of_limit)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a number that is not finite is None."""
        found = self.findings
        measurements = [
            {
                "quantity": one.quantity,
                "value": one.value if math.isfinite(one.value) else None,
                "unit": one.unit,
                "limit": one.limit,
                "is_right": one.is_right,
                "where": one.where,
            }
            for one in (found.measurements if found else ())
        ]
        return {
            "check": self.check,
            "state": self.state,
            "reason": self.reason,
            "seconds": round(self.seconds, 3),
            "measurements": measurements,
            "notes": list(found.notes) if found else [],
        }
