"""Run Lightning's trainer: quietly, watched over on all ranks, and ended in good time.

Floor 4.
"""
# ruff: noqa: ARG002 - Lightning gives its hooks more than each of them needs

from __future__ import annotations

import logging
import os
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import lightning
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning

from mace_train.training.child_ranks import adopt_children
from mace_train.training.failure_watch import FailureWatch
from mace_train.training.interruption import Interruptions
from mace_train.training.launch import rank_of
from mace_train.training.run_time import RunTime, find_end
from mace_train.training.stop_requests import StopRequests
from mace_train.training.wishes import RunStoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from lightning.pytorch.loggers import Logger

    from mace_train.training.checkpoint_folder import StartingPoint
    from mace_train.training.module import MACEModule
    from mace_train.training.trainer import TrainerSettings

logger = logging.getLogger(__name__)


def fit(
    module: MACEModule,
    datamodule: lightning.LightningDataModule,
    *,
    settings: TrainerSettings,
    run_dir: Path,
    callbacks: Sequence[lightning.Callback] = (),
    loggers: Sequence[Logger] = (),
    write_history: bool = True,
    start: StartingPoint | None = None,
    on_failure: Callable[[str], None] | None = None,
    began: float | None = None,
) -> lightning.Trainer:
    """Train to the last epoch, or until early stopping.

    Args:
        module: The model and how to train it.
        datamodule: The frames.
        settings: How long and on what.
        run_dir: Folder that the run writes to.
        callbacks: Usually a `CheckpointWriter`.
        loggers: Where metrics go besides metrics.csv.
        write_history: Whether there is a metrics.csv.
        start: Go on from this checkpoint; None: begin anew.
        on_failure: Is told why, where a failure of another rank ends this process.
        began: When the run began, in seconds since 1970, from where ``trainer.max_time``
            counts; None: now.

    Returns:
        The trainer, when it is done.

    Raises:
        ValueError: If the checkpoint cannot be gone on with, the loss or a gradient is not
            finite, no epoch had a finite validation loss, or another rank failed.
        RunStoppedError: If a signal or the time limit ended the run; it was saved.
    """
    if start is not None:
        require_epochs_left(start.num_epochs, start.path, settings.max_epochs)
        logger.info("going on from %s", start)
    run_time = RunTime(find_end(settings.max_time, start=began or time.time()))
    if run_time.end is not None:
        logger.info("the run saves and ends before %s", run_time.end.reason)
    watch = FailureWatch(on_failure=on_failure, ordinary=(RunStoppedError,))
    with quiet_lightning(), _float32_products(settings), watch:
        trainer = settings.build(
            run_dir,
            callbacks=[
                RankWatcher(watch),
                StopRequests(Interruptions(speaks=rank_of(os.environ) == 0), run_time),
                *callbacks,
            ],
            loggers=loggers,
            write_history=write_history,
        )
        path = None if start is None else start.path
        trainer.fit(module, datamodule=datamodule, ckpt_path=path, weights_only=True)
    if module.stages.best.epoch is None and not module.stages.none_beat_start:
        raise ValueError(
            "the validation loss was NaN or infinite in every epoch, so there is no model "
            "to keep: lower optim.lr, and look at the labels of the validation frames"
        )
    return trainer


class RankWatcher(lightning.Callback):
    """Begins a `FailureWatch` when the ranks are connected.

    Args:
        watch: Is left where the training ends.
    """

    def __init__(self, watch: FailureWatch) -> None:
        self.watch = watch

    def setup(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str
    ) -> None:
        """Take over from the launcher."""
        self.watch.begin(adopt_children(trainer.strategy.launcher))

    def on_exception(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        exception: BaseException,
    ) -> None:
        """Tell the other ranks at once."""
        self.watch.report(exception)


def require_epochs_left(num_epochs: int, checkpoint: Path, max_epochs: int) -> None:
    """Refuse to go on from a checkpoint that is beyond the last epoch.

    Raises:
        ValueError: If it has been trained for more than ``max_epochs``.
    """
    if num_epochs > max_epochs:
        raise ValueError(
            f"{checkpoint} has been trained for {num_epochs} epochs, more than "
            f"trainer.max_epochs={max_epochs}: raise it, or give another name=..."
        )


@contextmanager
def _float32_products(settings: TrainerSettings) -> Iterator[None]:
    """Switch TF32 on for a run, if the settings say so, and then as it was before."""
    if not settings.tf32:
        yield
        return
    if not settings.on_gpu:
        logger.info("trainer.tf32 changes nothing on a CPU")
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    logger.info("float32 products in TF32 (trainer.tf32=true) while the run trains")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Leave Lightning's advice and announcements out of the log; errors stay."""
    loggers = [
        logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")
    ]
    levels = [log.level for log in loggers]
    for log in loggers:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            # A run without validation frames has an empty list of loaders.
            warnings.filterwarnings("ignore", "Total length of `list`", UserWarning)
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # of torch 2.13
            # Graphs know how to move themselves, wherever they come from.
            warnings.filterwarnings("ignore", ".*`transfer_batch_to_device`", UserWarning)
            yield
    finally:
        for log, level in zip(loggers, levels):
            log.setLevel(level)
