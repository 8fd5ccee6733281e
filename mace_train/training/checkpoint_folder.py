"""`CheckpointFolder`: a run's checkpoints, of which the newest that is whole is found.

Floor 4. ``last.ckpt`` is the newest, ``last-1.ckpt`` the one before it, and so on;
``best.ckpt`` and ``best_stage_one.ckpt`` hold the best epochs. All whole ones lie on one
line of history: what is later than the point from which a run goes on is renamed first.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mace_train.checkpoints.training_checkpoint import (
    NewerFormatError,
    read_progress,
    read_training_checkpoint,
)
from mace_train.training.whole_file import PARTIAL, bring_to_disk, finish_file

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

ASIDE = ".aside"
"""End of the name of a checkpoint that is damaged, or later than where a run goes on."""

ADVICE = (
    "To begin anew, give the run another name=..., or set resume=never, which moves what "
    "is in its folder to previous/."
)


@dataclass(frozen=True)
class StartingPoint:
    """A checkpoint that a run goes on from.

    Attributes:
        path: The file.
        entry: What `read_training_checkpoint` gives for it.
    """

    path: Path
    entry: dict[str, Any]

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.entry["step"]

    @property
    def num_epochs(self) -> int:
        """Whole epochs done."""
        return self.entry["num_epochs"]

    @property
    def progress(self) -> tuple[int, int]:
        """Steps and whole epochs; that of a later checkpoint is greater."""
        return self.step, self.num_epochs

    def __str__(self) -> str:
        epochs = f"{self.num_epochs} whole epoch" + ("s" if self.num_epochs != 1 else "")
        return f"{self.path} (step {self.step}, {epochs})"


class CheckpointFolder:
    """The folder ``checkpoints`` of a run.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = path / "last.ckpt"
        self.best = path / "best.ckpt"
        self.best_stage_one = path / "best_stage_one.ckpt"
        self._damaged: dict[Path, str] = {}

    def candidates(self) -> list[Path]:
        """Checkpoints that a run might go on from; of equal ones, the first counts."""
        kept = sorted(self.path.glob("last-*.ckpt"), key=_place)
        names = [self.last, *(path for path in kept if _place(path)), self.best]
        return [path for path in [*names, self.best_stage_one] if path.is_file()]

    def newest_whole(self) -> StartingPoint | None:
        """The latest checkpoint that can be read wholly; None if there is no checkpoint.

        Each damaged one that this leaves out is named in a warning. The choice depends on
        the files alone, so that every rank makes the same.

        Raises:
            ValueError: If there are checkpoints, but none is whole, or one was written by
                a newer version.
        """
        found = self.candidates()
        progress = {path: p for path in found if (p := self._progress(path)) is not None}
        for path in sorted(progress, key=lambda path: progress[path], reverse=True):
            entry = self._entry(path)
            if entry is not None:
                start = StartingPoint(path, entry)
                self._tell_damaged(start, progress)
                return start
        if not found:
            return None
        reasons = "; ".join(self._described(path) for path in found)
        raise ValueError(
            f"no checkpoint in {self.path} can be gone on from: {reasons}. Nothing was "
            f"changed. {ADVICE}"
        )

    def whole_ones(self, *, but: Path) -> list[StartingPoint]:
        """All checkpoints that can be read wholly, except one, the latest first."""
        others = [path for path in self.candidates() if path.name != but.name]
        whole = [StartingPoint(path, e) for path in others if (e := self._entry(path))]
        return sorted(whole, key=lambda start: start.progress, reverse=True)

    def begin(self, start: StartingPoint | None) -> None:
        """Clear the way for the checkpoints to come; rank zero calls this.

        Unfinished files go. Checkpoints that are damaged or later than ``start`` are
        renamed, so that they neither push whole ones out nor are gone on from later.
        """
        for leftover in self.path.glob(f"*{PARTIAL}"):
            leftover.unlink()
        if start is None:
            return
        for path in self.candidates():
            if path.resolve() == start.path.resolve():
                continue
            progress = self._progress(path)
            if path in self._damaged or progress is None:
                why = "it is damaged"
            elif progress > start.progress:
                why = f"it is {progress[0] - start.step} steps later than {start.path.name}"
            else:
                continue
            aside = path.with_name(path.name + ASIDE)
            path.replace(aside)
            logger.info("renamed %s to %s: %s", path, aside.name, why)

    def add(self, partial: Path, *, keep: int) -> None:
        """Make a written file the newest checkpoint; rank zero calls this.

        Those before it move on by one name, the oldest first, and the last to take its
        name is the new one: whenever this is cut off, the newest whole checkpoint has a
        name that `newest_whole` finds.

        Args:
            partial: The file, complete.
            keep: How many of the newest are kept, this one included.
        """
        bring_to_disk(partial)
        names = [self.last, *(self.path / f"last-{n}.ckpt" for n in range(1, keep))]
        taken = next((n for n, path in enumerate(names) if not path.exists()), keep - 1)
        for place in range(taken, 0, -1):
            names[place - 1].replace(names[place])
        finish_file(partial, self.last)
        for path in self.path.glob("last-*.ckpt"):
            if _place(path) >= keep:
                path.unlink()

    def _progress(self, path: Path) -> tuple[int, int] | None:
        """Steps and epochs of a checkpoint, or None, with the reason noted, if damaged."""
        try:
            return read_progress(path)
        except NewerFormatError as error:
            raise ValueError(f"cannot go on from {path}: {error}") from error
        except (ValueError, OSError):
            entry = self._entry(path)  # perhaps only its description is unusually long
        return None if entry is None else (entry["step"], entry["num_epochs"])

    def _entry(self, path: Path) -> dict[str, Any] | None:
        """What a checkpoint holds, or None, with the reason noted, if damaged."""
        try:
            return read_training_checkpoint(path)
        except NewerFormatError as error:
            raise ValueError(f"cannot go on from {path}: {error}") from error
        except (ValueError, OSError) as error:
            self._damaged[path] = str(error).removeprefix("it is damaged: ")
        return None

    def _described(self, path: Path) -> str:
        size = path.stat().st_size if path.exists() else 0
        return f"{path.name} ({size} bytes) is damaged: {self._damaged[path]}"

    def _tell_damaged(
        self, start: StartingPoint, progress: dict[Path, tuple[int, int]]
    ) -> None:
        for path in self._damaged:
            known = progress.get(path)
            lost = None if known is None else known[0] - start.step
            how_far = f", {lost} steps earlier" if lost else ""
            logger.warning(
                "checkpoint %s; skipped, going on from %s%s",
                f"{path.parent}/{self._described(path)}",
                start.path.name,
                how_far,
            )


def _place(path: Path) -> int:
    """Which place a kept checkpoint has: 2 for ``last-2.ckpt``; 0 for any other name."""
    match = re.fullmatch(r"last-([1-9]\d*)\.ckpt", path.name)
    return int(match[1]) if match else 0
