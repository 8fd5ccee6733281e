"""`StepClock`: time of training spent on data, computing and communication.

Floor 4. Waiting for data is the host's time between two steps. Communication is the time
from a rank's call for a sum over ranks until it has it, waiting for slower ranks included;
on a GPU it is measured by events that the host reads when the epoch ends.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class StepClock:
    """Times of the training steps of an epoch.

    Args:
        device: Where the model computes.
        now: Seconds, for tests.
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        *,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._now = now
        self._on_gpu = torch.device(device).type == "cuda"
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._step_began = self._step_ended = now()
        self._communication = 0.0
        self.data_seconds = 0.0
        self.step_seconds = 0.0
        self.slowest_step = 0.0

    def add(self, seconds: Sequence[float]) -> None:
        """Add what another clock gave as `seconds`, such as before a resume."""
        data, computing, communication = seconds
        self.data_seconds += data
        self.step_seconds += computing + communication
        self._communication += communication

    def begin_step(self) -> None:
        """A batch is there."""
        self._step_began = self._now()
        self.data_seconds += self._step_began - self._step_ended

    def end_step(self) -> None:
        """The step is done, and the next batch is waited for."""
        seconds = self._now() - self._step_began
        self.step_seconds += seconds
        self.slowest_step = max(self.slowest_step, seconds)
        self.resume()

    def resume(self) -> None:
        """Go on after something that is no part of training, such as a checkpoint."""
        self._step_ended = self._now()

    @contextmanager
    def communicating(self) -> Iterator[None]:
        """Count what is done here as communication."""
        if self._on_gpu:
            began = torch.cuda.Event(enable_timing=True)
            ended = torch.cuda.Event(enable_timing=True)
            began.record()
            yield
            ended.record()
            self._events.append((began, ended))
        else:
            seconds = self._now()
            yield
            self._communication += self._now() - seconds

    def seconds(self) -> tuple[float, float, float]:
        """Seconds of waiting for data, computing and communication; waits for a GPU."""
        for began, ended in self._events:
            ended.synchronize()
            self._communication += began.elapsed_time(ended) / 1000
        self._events.clear()
        computing = max(self.step_seconds - self._communication, 0.0)
        return self.data_seconds, computing, self._communication
