"""`Stopwatch`: what parts of a program its time goes to; each second counts once."""

from __future__ import annotations

import functools
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stopwatch:
    """Seconds by part; a part within another takes its time from that.

    >>> watch = Stopwatch()
    >>> with watch.part("step"), watch.part("loader"):
    ...     pass
    >>> sorted(watch.lap()) == ["loader", "step"], watch.lap()
    (True, {})
    """

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()
        self._inside: list[str] = []
        self._since = time.perf_counter()

    @contextmanager
    def part(self, name: str, *, whole: bool = False) -> Iterator[None]:
        """While this lasts, time goes to a part.

        Args:
            name: Its name.
            whole: Parts within it do not count by themselves.
        """
        if self._inside and self._inside[-1].startswith("="):
            yield
            return
        self._switch()
        self._inside.append(("=" if whole else "") + name)
        try:
            yield
        finally:
            self._switch()
            self._inside.pop()

    def lap(self) -> dict[str, float]:
        """Seconds of each part since the last lap; what is in no part is not there."""
        self._switch()
        seconds, self._seconds = self._seconds, Counter()
        return dict(seconds)

    @contextmanager
    def on(self, *methods: tuple[type, str, str], whole: bool = False) -> Iterator[None]:
        """While this lasts, the time of methods goes to parts.

        Args:
            methods: Class, name of the method, and name of the part.
            whole: As for `part`.
        """
        with ExitStack() as patches:
            for owner, method, name in methods:
                timed = self._timed(getattr(owner, method), name, whole=whole)
                patches.enter_context(patch.object(owner, method, timed))
            yield

    def _timed(self, function: Any, name: str, *, whole: bool) -> Any:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name, whole=whole):
                return function(*args, **kwargs)

        return timed

    def _switch(self) -> None:
        now = time.perf_counter()
        if self._inside:
            self._seconds[self._inside[-1].removeprefix("=")] += now - self._since
        self._since = now
