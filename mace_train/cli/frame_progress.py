"""Show how far the preparation of frames is: a bar on a terminal, lines elsewhere.

Floor 6.
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mace_train.cli.command import is_first_rank

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 60.0


@contextmanager
def frame_progress(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A function to be told of frames done and frames in all, while the context lasts.

    Of several ranks only the first draws a bar.

    Args:
        what: First word of the bar, e.g. ``preparing``.
    """
    if not (sys.stderr.isatty() and is_first_rank()):
        yield _lines(what)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        _Speed(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


class _Speed(ProgressColumn):
    """Frames a second."""

    def render(self, task: Task) -> Text:
        """The speed of late, or nothing before it is known."""
        return Text(f"{task.speed:,.0f} frames/s" if task.speed else "")


def _lines(what: str) -> Callable[[int, int | None], None]:
    began = last = time.monotonic()
    before: int | None = None  # frames that were done when this began

    def tell(done: int, total: int | None) -> None:
        nonlocal last, before
        before = done if before is None else before
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            speed = (done - before) / (now - began)
            of = "" if total is None else f" of {total}"
            left = ""
            if total is not None and speed > 0:
                left = f", ETA {timedelta(seconds=round((total - done) / speed))}"
            rate = f"{speed:,.0f}" if speed >= 10 else f"{speed:.2g}"
            logger.info("%s: %d%s frames, %s frames/s%s", what, done, of, rate, left)

    return tell
