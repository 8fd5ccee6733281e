"""What can be wrong with a frame, gathered so that a user reads of it once, with a cure.

A check raises `FrameError`; the reader counts it in a `ProblemLog` and goes on, so that the
final message says how many frames are concerned, and where the first one is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class FrameError(ValueError):
    """A frame that cannot be used as it is.

    Args:
        what: The fault, continuing the sentence "3 of 100 frames ..."; the same for all
            frames that share it.
        cure: What the user can do.
        detail: The values in this frame.
    """

    def __init__(self, what: str, *, cure: str, detail: str = "") -> None:
        super().__init__(f"{what} ({detail}). {cure}" if detail else f"{what}. {cure}")
        self.what = what
        self.cure = cure
        self.detail = detail


@dataclass
class Finding:
    """How often a fault was met, and where first."""

    cure: str
    first: str
    count: int = 0


@dataclass
class ProblemLog:
    """Faults met so far, by what they are; logs of several workers are merged."""

    findings: dict[str, Finding] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of refused frames."""
        return sum(finding.count for finding in self.findings.values())

    def add(self, problem: FrameError, *, place: str) -> None:
        """Count a fault of the frame at ``place`` (file, frame, formula)."""
        first = f"{place}: {problem.detail}" if problem.detail else place
        finding = self.findings.setdefault(problem.what, Finding(problem.cure, first))
        finding.count += 1

    def merge(self, other: ProblemLog) -> None:
        """Add the faults of another part of the data, which is read after this one."""
        for what, found in other.findings.items():
            mine = self.findings.setdefault(what, Finding(found.cure, found.first))
            mine.count += found.count

    def lines(self, num_frames: int) -> list[str]:
        """One sentence for each fault, the most frequent first.

        Args:
            num_frames: Frames read in all.
        """
        ordered = sorted(self.findings.items(), key=lambda item: -item[1].count)
        return [
            f"{found.count} of {num_frames} frames {what} (first: {found.first}). "
            f"{found.cure}"
            for what, found in ordered
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {
            what: [found.cure, found.first, found.count]
            for what, found in self.findings.items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ProblemLog:
        """The log that `to_dict` wrote."""
        return cls({what: Finding(*found) for what, found in values.items()})
