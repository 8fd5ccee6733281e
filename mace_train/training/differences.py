"""How two settings differ, and how it is said.

Floor 4, plain values only.
"""

from __future__ import annotations

import math
from typing import Any

MOST_DIFFERENCES = 5
"""Differences that a message names."""


def joined(differences: list[str]) -> str:
    """The first differences in one sentence, and how many there are besides."""
    more = len(differences) - MOST_DIFFERENCES
    first = "; ".join(differences[:MOST_DIFFERENCES])
    return first + (f"; and {more} more" if more > 0 else "")


def word(value: Any) -> str:
    """A value as it is given on a command line.

    >>> word(None), word(True), word(0.5)
    ('null', 'true', '0.5')
    """
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def differ(one: Any, other: Any) -> bool:
    """Whether two arguments differ by more than the rounding of a repeated computation."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) != len(other) or any(differ(a, b) for a, b in zip(one, other))
    if isinstance(one, float) or isinstance(other, float):
        if not isinstance(one, (int, float)) or not isinstance(other, (int, float)):
            return True
        return not math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    return one != other


def shown(value: Any) -> str:
    """A value as a message shows it, in 60 characters at most."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
