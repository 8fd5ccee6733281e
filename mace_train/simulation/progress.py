"""How molecular dynamics shows that it lives: a bar on a terminal, lines elsewhere.

Floor 3.
"""

from __future__ import annotations

import logging
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

if TYPE_CHECKING:
    from types import TracebackType

    from mace_train.simulation.observables import Observables

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 60.0
SECONDS_BETWEEN_DRAWINGS = 0.25


class RunProgress:
    """A context that is told of every step.

    Args:
        num_steps: Steps of the whole run.
        first_step: Steps that are done already.
        timestep: fs.
        show_bar: Whether to draw a bar; None: if standard error is a terminal.
    """

    def __init__(
        self,
        num_steps: int,
        first_step: int,
        *,
        timestep: float,
        show_bar: bool | None = None,
    ) -> None:
        self._num_steps = num_steps
        self._first_step = first_step
        self._timestep = timestep
        self._show_bar = sys.stderr.isatty() if show_bar is None else show_bar
        self._bar: Progress | None = None
        self._began = self._last = time.monotonic()

    def __enter__(self) -> RunProgress:
        self._began = self._last = time.monotonic()
        if self._show_bar:
            self._bar = Progress(
                BarColumn(bar_width=12),
                TextColumn("{task.description}"),
                console=Console(stderr=True),
                auto_refresh=False,
                transient=True,
            )
            self._bar.add_task("", total=self._num_steps, completed=self._first_step)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def seconds(self) -> float:
        """Since the run began or went on."""
        return time.monotonic() - self._began

    def tell(self, seen: Observables) -> None:
        """Draw the bar, or log a line every minute.

        Args:
            seen: The numbers of the step.
        """
        now = time.monotonic()
        pause = SECONDS_BETWEEN_DRAWINGS if self._bar else SECONDS_BETWEEN_LINES
        if now - self._last < pause:
            return
        self._last = now
        if self._bar is None:
            logger.info(self.line(seen))
            return
        task = self._bar.task_ids[0]
        text = self.line(seen, short=True)
        self._bar.update(task, completed=seen.step, description=text, refresh=True)

    def line(self, seen: Observables, *, short: bool = False) -> str:
        """Where the run is, how warm, how fast, and the time that is left.

        Args:
            seen: The numbers of the step.
            short: Without target and drift, to fit beside a bar into 80 columns.
        """
        speed = (seen.step - self._first_step) / max(self.seconds, 1e-9)
        left = (self._num_steps - seen.step) / speed if speed else 0.0
        target = "" if short or seen.target is None else f" of {seen.target:.0f}"
        drift = "" if short else f"drift {seen.drift:.2f} meV/atom  "
        return (
            f"{seen.time:.2f}/{1e-3 * self._timestep * self._num_steps:g} ps  "
            f"{seen.temperature:.0f}{target} K  {drift}"
            f"{speed:.1f} steps/s  {0.0864 * speed * self._timestep:.2f} ns/day  "
            f"ETA {timedelta(seconds=round(left))}"
        )
