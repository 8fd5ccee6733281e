"""`RunTime`: when a run has to end, and whether the next step still fits in.

Floor 4, the standard library only. A job that is cut off loses what it did since its last
checkpoint, so a run saves and ends before: some time before, for a step or a validation
that has begun is finished first, and then a checkpoint is written. How long these take is
not known in advance, so the run tells, and the slowest of each kind counts.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MaxTime = int | str | None
"""Values of ``trainer.max_time``."""
Work = Literal["step", "validation", "checkpoint"]

LEAST_MARGIN = 60.0
"""Seconds before the end of which no step begins, however quick steps are."""
_MARGINS = {"step": 3.0, "validation": 1.5, "checkpoint": 1.5}
_DAY, _HOUR, _MINUTE = 86400, 3600, 60
_FORMS = (
    'allowed: null | auto (the time limit of the SLURM job) | "HH:MM:SS" | "D-HH:MM:SS" | '
    "a number of seconds"
)
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d)")
_SLURM_TIME = re.compile(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d\d)")  # it leaves out 0 hours


def parse_time(text: int | str) -> int:
    """Seconds of a time such as ``HH:MM:SS`` or ``D-HH:MM:SS``.

    YAML reads an unquoted ``23:50:00`` as the integer 85800, its seconds, so that an
    integer is a number of seconds here too.

    Raises:
        ValueError: If it is of another form or not positive.

    >>> parse_time("23:50:00"), parse_time("1-00:00:00"), parse_time(85800)
    (85800, 86400, 85800)
    """
    found = None if isinstance(text, int) else _TIME.fullmatch(text.strip())
    if isinstance(text, int):
        seconds = text
    elif found is not None and int(found["minutes"]) < 60 and int(found["seconds"]) < 60:
        parts = {name: int(value or 0) for name, value in found.groupdict().items()}
        seconds = (
            parts["days"] * _DAY
            + parts["hours"] * _HOUR
            + parts["minutes"] * _MINUTE
            + parts["seconds"]
        )
    else:
        raise ValueError(f"trainer.max_time={text!r} is not allowed; {_FORMS}")
    if seconds <= 0:
        raise ValueError(f"trainer.max_time={text!r} leaves no time; {_FORMS}")
    return seconds


@dataclass(frozen=True)
class End:
    """When a run has to end.

    Attributes:
        time: Seconds since 1970.
        reason: Whose limit it is.
    """

    time: float
    reason: str


def find_end(
    max_time: MaxTime,
    *,
    start: float,
    environment: Mapping[str, str] = os.environ,
    ask: Callable[[str], str | None] | None = None,
) -> End | None:
    """When a run has to end; None if no limit is known.

    With ``auto`` the limit is that of the SLURM job: SLURM_JOB_END_TIME, where SLURM is too
    old to tell (before 22.05) what ``squeue`` says is left, and outside of SLURM none.

    Args:
        max_time: The value of ``trainer.max_time``; a time counts from ``start``.
        start: When the run began, in seconds since 1970.
        environment: Environment variables.
        ask: Gives the time left that ``squeue`` prints for a job; None if it says nothing.

    Raises:
        ValueError: If the value cannot be read.
    """
    if max_time is None:
        return None
    if max_time != "auto":
        limit = parse_time(max_time)
        if limit <= LEAST_MARGIN:
            raise ValueError(
                f"trainer.max_time={max_time} leaves no time to train: "
                f"{LEAST_MARGIN:.0f} s are kept for saving and ending"
            )
        return End(start + limit, f"trainer.max_time={max_time}")
    job = environment.get("SLURM_JOB_ID")
    if job is None:
        return None
    reason = f"the time limit of SLURM job {job}"
    end = environment.get("SLURM_JOB_END_TIME", "")
    if end.isdigit():
        return End(float(end), reason)
    left = _seconds_left((ask or _ask_squeue)(job))
    return None if left is None else End(time.time() + left, reason)


class RunTime:
    """Keeps a run from being cut off by its time limit.

    Args:
        end: When it has to end; None: never.
        clock: Gives the time in seconds since 1970.
    """

    def __init__(self, end: End | None, *, clock: Callable[[], float] = time.time) -> None:
        self.end = end
        self._clock = clock
        self._slowest: dict[str, float] = dict.fromkeys(_MARGINS, 0.0)

    def took(self, work: Work, seconds: float) -> None:
        """Take note of how long a step, a validation or a checkpoint took."""
        self._slowest[work] = max(self._slowest[work], seconds)

    @property
    def left(self) -> float:
        """Seconds until the run has to end."""
        return float("inf") if self.end is None else self.end.time - self._clock()

    def margin(self, before: Literal["step", "validation"] = "step") -> float:
        """Seconds that must be left to begin with something, and to save after it.

        Three times the slowest step, since one may be slower than all before; one and a
        half times the slowest validation and checkpoint, which vary less.
        """
        needed = sum(
            _MARGINS[work] * self._slowest[work] for work in (before, "checkpoint")
        )
        return max(LEAST_MARGIN, needed)

    def is_due(self, before: Literal["step", "validation"] = "step") -> bool:
        """Whether to save and end now, rather than begin with a step or a validation."""
        return self.left < self.margin(before)

    @property
    def reason(self) -> str:
        """Why the run ends, for its message."""
        assert self.end is not None
        return f"{self.end.reason} is near"


def _seconds_left(text: str | None) -> int | None:
    """Seconds of a time as ``squeue`` prints it, such as ``29:59`` or ``1-02:03:04``."""
    found = _SLURM_TIME.fullmatch((text or "").strip())
    if found is None:
        return None  # UNLIMITED, NOT_SET, INVALID
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return days * _DAY + hours * _HOUR + minutes * _MINUTE + seconds


def _ask_squeue(job: str) -> str | None:
    """The time left (%L) of a job, which needs neither its clock nor its time zone."""
    try:
        done = subprocess.run(
            ["squeue", "--noheader", f"--job={job}", "--format=%L"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
