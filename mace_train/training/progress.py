"""How a run shows that it lives: a bar, a table row an epoch, a line a minute.

Floor 4. Rows and lines go to `logging`, so that they stand in the log file too; while a bar
is shown, log messages are printed above it, and the lines of each minute are kept off the
terminal.
"""
# ruff: noqa: ARG002 - Lightning gives its hooks more than each of them needs

from __future__ import annotations

import logging
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from mace_train.training.callbacks import EpochCallback
from mace_train.training.module import MACEModule

if TYPE_CHECKING:
    import lightning

    from mace_train.training.history import Row

logger = logging.getLogger(__name__)
minute_logger = logging.getLogger(f"{__name__}.minutes")

SECONDS_BETWEEN_LINES = 60.0
SECONDS_BETWEEN_DRAWINGS = 0.25

_COLUMNS = (
    ("epoch", 5),
    ("lr", 8),
    ("train loss", 10),
    ("valid loss", 10),
    ("meV/atom", 8),
    ("meV/Å", 7),
    ("meV/Å³", 7),
    ("seconds", 7),
    ("frames/s", 8),
)

HEADER = " ".join(name.rjust(width) for name, width in _COLUMNS)
"""Names above `table_row`, which fits a terminal of 80 columns; the errors are MAEs on the
validation set."""


def table_row(row: Row, *, is_best: bool) -> str:
    """One epoch as a line under `HEADER`; the best so far is marked with a star."""
    milli = [
        None if (value := row[f"valid/{name}_mae"]) is None else 1000 * value
        for name in ("energy_per_atom", "forces", "stress")
    ]
    cells = [
        f"{row['epoch']}",
        f"{row['lr']:.2e}",
        _number(row["train/loss"]),
        _number(row["valid/loss"]),
        *map(_number, milli),
        f"{row['seconds']:.1f}",
        f"{row['frames_per_second']:.1f}",
    ]
    line = " ".join(cell.rjust(width) for cell, (_, width) in zip(cells, _COLUMNS))
    return line + (" *" if is_best else "")


class ProgressReporter(EpochCallback):
    """Report on rank zero; the other ranks are silent.

    Args:
        show_bar: Whether to draw a bar; None: if standard error is a terminal.
    """

    def __init__(self, *, show_bar: bool | None = None) -> None:
        self.show_bar = sys.stderr.isatty() if show_bar is None else show_bar
        self._bar: _Bar | None = None
        self._steps_done = 0
        self._frames = 0
        self._began = self._epoch_began = self._last_line = self._last_drawing = 0.0

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Print the head of the table and open the bar."""
        if not trainer.is_global_zero:
            return
        logger.info(HEADER)
        self._began = self._epoch_began = self._last_line = time.monotonic()
        self._steps_done = 0
        if self.show_bar:
            self._bar = _Bar()

    def on_train_epoch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Begin to count."""
        self._frames = 0
        self._epoch_began = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Draw the bar, and log a line every minute."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, MACEModule)
        self._steps_done += 1
        self._frames += batch.num_graphs * trainer.world_size
        now = time.monotonic()
        if now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            minute_logger.info(self._line(trainer, pl_module, batch_idx + 1))
        if self._bar and now - self._last_drawing >= SECONDS_BETWEEN_DRAWINGS:
            self._last_drawing = now
            share = (batch_idx + 1) / trainer.num_training_batches
            self._bar.draw(self._line(trainer, pl_module, batch_idx + 1), share)

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """A long validation logs lines too."""
        now = time.monotonic()
        if trainer.is_global_zero and now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            num_batches = int(sum(trainer.num_val_batches))
            minute_logger.info(
                "epoch %d: validating, batch %d/%d",
                trainer.current_epoch,
                batch_idx + 1,
                num_batches,
            )

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Add a row to the table."""
        assert isinstance(pl_module, MACEModule)
        if trainer.is_global_zero:
            logger.info(table_row(pl_module.row, is_best=pl_module.is_best))

    def on_train_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Close the bar."""
        self._close()

    def on_exception(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        exception: BaseException,
    ) -> None:
        """Close the bar, so that the message stands on a line of its own."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _line(self, trainer: lightning.Trainer, module: MACEModule, step: int) -> str:
        """Epoch, step, loss so far, speed, and the time left to the last epoch."""
        now = time.monotonic()
        steps_left = _steps_left(trainer, step)
        seconds_left = (now - self._began) / max(self._steps_done, 1) * steps_left
        return (
            f"epoch {trainer.current_epoch}/{(trainer.max_epochs or 0) - 1}  "
            f"step {step}/{trainer.num_training_batches}  "
            f"loss {_number(module.running_loss())}  "
            f"{self._frames / max(now - self._epoch_began, 1e-9):.1f} frames/s  "
            f"ETA {timedelta(seconds=round(seconds_left))}"
        )


class _Bar:
    """A bar at the bottom of the terminal, above which log messages are printed."""

    def __init__(self) -> None:
        self._progress = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        streams = (sys.stdout, sys.stderr)
        self._progress.start()  # from here on, these are proxies that print above the bar
        self._task = self._progress.add_task("", total=1.0)
        self._handlers = [
            (handler, handler.stream)
            for handler in logging.getLogger().handlers
            + logging.getLogger("mace_train").handlers
            if isinstance(handler, logging.StreamHandler) and handler.stream in streams
        ]
        for handler, stream in self._handlers:
            handler.setStream(sys.stderr if stream is streams[1] else sys.stdout)
            handler.addFilter(_not_a_minute_line)

    def draw(self, text: str, share: float) -> None:
        """Show the text beside a bar that is filled to a share."""
        self._progress.update(self._task, description=text, completed=share, refresh=True)

    def close(self) -> None:
        """Take the bar away and give the streams back."""
        for handler, stream in self._handlers:
            handler.removeFilter(_not_a_minute_line)
            handler.setStream(stream)
        self._progress.stop()


def _not_a_minute_line(record: logging.LogRecord) -> bool:
    return record.name != minute_logger.name


def _steps_left(trainer: lightning.Trainer, step: int) -> float:
    """Training steps to the last epoch."""
    epochs_left = max((trainer.max_epochs or 0) - trainer.current_epoch - 1, 0)
    return float((epochs_left + 1) * trainer.num_training_batches - step)


def _number(value: float | int | None) -> str:
    """Four digits; a dash where there is no value."""
    return "-" if value is None else f"{value:.4g}"
