"""Show how far the preparation of frames is: a bar on a terminal, lines elsewhere.

Floor 4.
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
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

    def tell(done: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            of = "" if total is None else f" of {total}"
            logger.info(
                "%s: %d%s frames, %.0f frames/s", what, done, of, done / (now - began)
            )

    return tell
