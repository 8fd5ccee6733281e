"""What can be wrong with a frame, gathered so that a user reads of it once, with a cure.

A check raises `FrameError`; the reader counts it in a `ProblemLog` and goes on, so that the
final message says how many frames are concerned, and where the first one is; each of them
is listed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

BadFrames = Literal["refuse", "leave_out"]
"""What the user wants with frames that cannot be used."""


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


class Place(NamedTuple):
    """Where a frame is: its file, its place there from 0, and its formula if known."""

    source: str
    number: int
    formula: str = ""

    def __str__(self) -> str:
        formula = f", {self.formula}" if self.formula else ""
        return f"{self.source}, frame {self.number}{formula}"


class Refused(NamedTuple):
    """A frame that was refused, and why; the cure stands in the `Finding` of ``what``."""

    place: Place
    what: str
    detail: str


class TooManyRefusedError(ValueError):
    """So many frames are refused that reading on makes no sense.

    Args:
        message: What is wrong with them.
        problems: All that were refused until then, as `ProblemLog.to_dict` gives them.
    """

    def __init__(self, message: str, problems: dict[str, Any]) -> None:
        super().__init__(message, problems)  # both, so that it can come from a worker
        self.problems = ProblemLog.from_dict(problems)

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass
class Finding:
    """How often a fault was met, and where first."""

    cure: str
    first: str
    count: int = 0


@dataclass
class ProblemLog:
    """Faults met so far, by what they are; logs of several workers are merged.

    Attributes:
        findings: Count, first place and cure of each fault.
        refused: Every refused frame.
    """

    findings: dict[str, Finding] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Number of refused frames."""
        return len(self.refused)

    def add(self, problem: FrameError, *, place: Place) -> None:
        """Note that the frame at ``place`` is refused."""
        first = f"{place}: {problem.detail}" if problem.detail else str(place)
        finding = self.findings.setdefault(problem.what, Finding(problem.cure, first))
        finding.count += 1
        self.refused.append(Refused(place, problem.what, problem.detail))

    def merge(self, other: ProblemLog) -> None:
        """Add the faults of another part of the data, which is read after this one."""
        for what, found in other.findings.items():
            mine = self.findings.setdefault(what, Finding(found.cure, found.first))
            mine.count += found.count
        self.refused += other.refused

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
        """Plain values that JSON can hold; nothing where nothing is wrong."""
        if not self.findings:
            return {}
        return {
            "findings": {
                what: [found.cure, found.first, found.count]
                for what, found in self.findings.items()
            },
            "refused": [[*place, what, detail] for place, what, detail in self.refused],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ProblemLog:
        """The log that `to_dict` wrote."""
        return cls(
            {what: Finding(*found) for what, found in values.get("findings", {}).items()},
            [
                Refused(Place(source, index, formula), what, detail)
                for source, index, formula, what, detail in values.get("refused", [])
            ],
        )
