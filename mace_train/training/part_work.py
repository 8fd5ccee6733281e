"""Predict the parts that are missing, by one process or by several.

Floor 4. A worker is a fork that holds the potential from its birth; it writes whole parts
and nothing else, so that it does not matter when it ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from mace_train.data.parallel import run_parallel
from mace_train.training.predictions import FrameFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mace_train.data.problems import BadFrames
    from mace_train.training.potentials import Potential
    from mace_train.training.prediction_parts import PartFolder

_TICK = 20  # frames between two reports of progress


@dataclass(frozen=True)
class PartWork:
    """Frames in parts, and what predicts them.

    Attributes:
        potential: Predicts frames by their places.
        parts: Places of the frames of each part.
        folder: Where parts are kept.
        bad_frames: Whether a frame that cannot be predicted ends all, or is noted.
    """

    potential: Potential
    parts: Sequence[range]
    folder: PartFolder
    bad_frames: BadFrames = "refuse"

    @property
    def num_frames(self) -> int:
        """Frames in all parts."""
        return sum(len(part) for part in self.parts)

    @property
    def missing(self) -> list[int]:
        """Numbers of the parts that are not finished."""
        numbers = range(len(self.parts))
        return [number for number in numbers if not self.folder.is_finished(number)]

    def finish(
        self, *, workers: int = 1, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Predict the missing parts; each is whole or absent whenever this ends.

        Args:
            workers: Processes with one thread each; several only on Linux.
            progress: Called with the frames done and their total.

        Raises:
            ValueError: If a frame cannot be predicted and ``bad_frames`` is ``refuse``, or
                a worker process was killed.
        """
        missing = self.missing
        if self.bad_frames == "refuse":
            self._require_no_failures()
        total = self.num_frames
        before = total - sum(len(self.parts[number]) for number in missing)
        tell = progress and (lambda done: progress(before + done, total))
        if tell is not None:
            tell(0)
        if sys.platform != "linux":
            workers = 1
        # One process goes through all, so that its loader need not begin anew each time.
        jobs = [missing] if workers == 1 else [[number] for number in missing]
        global _work, _stop, _owner
        _work, _stop, _owner = self, multiprocessing.Event(), os.getpid()
        try:
            run_parallel(_do_parts, jobs, workers=workers, progress=tell, on_stop=_stop.set)
        finally:
            _work = None

    def _require_no_failures(self) -> None:
        """Refuse parts of which frames were left out when that was allowed."""
        for number in range(len(self.parts)):
            if self.folder.is_finished(number) and (told := self.folder.failures(number)):
                raise ValueError(told[0])

    def do(self, numbers: Sequence[int], tick: Callable[[int], None]) -> None:
        """Predict some parts and write each when it is complete."""
        predicted = self.potential(*(self.parts[number] for number in numbers))
        for number in numbers:
            outcomes = []
            for outcome in islice(predicted, len(self.parts[number])):
                if isinstance(outcome, FrameFailure) and self.bad_frames == "refuse":
                    raise ValueError(outcome.reason)
                outcomes.append(outcome)
                _end_if_asked()
                if len(outcomes) % _TICK == 0:
                    tick(_TICK)
            self.folder.write(number, outcomes)
            tick(len(outcomes) % _TICK)


# What a worker finds when it is forked.
_work: PartWork | None = None
_stop: Any = None
_owner = 0


def _do_parts(numbers: Sequence[int], tick: Callable[[int], None]) -> None:
    """Do some of the work that this process, or the one it was forked from, has begun."""
    if _is_worker():
        torch.set_num_threads(1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent as well
    assert _work is not None
    _work.do(numbers, tick)


def _is_worker() -> bool:
    return os.getpid() != _owner


def _end_if_asked() -> None:
    """End a worker whose parent has stopped."""
    if _is_worker() and _stop.is_set():
        raise InterruptedError("the evaluation was stopped")
