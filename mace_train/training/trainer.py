"""Set up Lightning's trainer, and run it.

Floor 3. Every choice that Lightning would make otherwise, and that would be wrong for
forces by autograd, for batches of our own dealing or for a quiet log, is made here.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import lightning
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies import DDPStrategy

from mace_train.constraints import PositiveInt
from mace_train.training.callbacks import HistoryWriter
from mace_train.training.progress import ProgressReporter
from mace_train.training.resume import read_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lightning.pytorch.loggers import Logger

    from mace_train.training.callbacks import EpochCallback
    from mace_train.training.module import MACEModule

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainerSettings:
    """How long and on what to train.

    Args:
        max_epochs: Epochs of the whole run, those before a resume included.
        accelerator: Where to compute; ``auto``: on GPUs if there are any.
        devices: Processes on this machine; ``auto``: one on the CPU, or one for each GPU.
        num_nodes: Machines that train together.
        num_threads: CPU threads of each process; None: one for the chunked backend, else
            torch's choice.
        tf32: Let GPUs round the factors of float32 products to 10 bits, which is faster.
            Forces and gradients then err by 1e-3 of their size and energies by up to 0.3
            meV/atom (measured by rounding on a CPU, with trained models). Rounding to the
            7 bits of bfloat16 costs 7e-3 and 1.6 meV/atom: too much to be offered.
        progress_bar: Whether to draw a bar; ``auto``: on a terminal.
    """

    max_epochs: PositiveInt
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Literal["auto"] | PositiveInt = "auto"
    num_nodes: PositiveInt = 1
    num_threads: PositiveInt | None = None
    tf32: bool = False
    progress_bar: Literal["auto"] | bool = "auto"

    @property
    def on_gpu(self) -> bool:
        """Whether this machine trains on GPUs.

        Raises:
            ValueError: If GPUs are asked for and there are none.
        """
        available = torch.cuda.is_available()
        if self.accelerator == "gpu" and not available:
            raise ValueError(
                "trainer.accelerator=gpu, but torch finds no GPU here: "
                "use trainer.accelerator=cpu"
            )
        return available and self.accelerator != "cpu"

    @property
    def num_processes(self) -> int:
        """Processes on this machine.

        Raises:
            ValueError: If there are fewer GPUs than asked for.
        """
        num_gpus = torch.cuda.device_count() if self.on_gpu else 0
        if self.devices == "auto":
            return num_gpus or 1
        if self.on_gpu and self.devices > num_gpus:
            raise ValueError(
                f"trainer.devices={self.devices}, but this machine has {num_gpus} GPUs"
            )
        return self.devices

    def build(
        self,
        run_dir: Path,
        *,
        callbacks: Sequence[EpochCallback] = (),
        loggers: Sequence[Logger] = (),
        write_history: bool = True,
    ) -> lightning.Trainer:
        """The trainer of a run.

        Args:
            run_dir: Folder that the run writes to.
            callbacks: Besides those for metrics.csv and progress; called after them.
            loggers: Where metrics go besides metrics.csv.
            write_history: Whether there is a metrics.csv.
        """
        if self.num_threads is not None:
            torch.set_num_threads(self.num_threads)
        in_slurm = SLURMEnvironment.detect()
        show_bar = None if self.progress_bar == "auto" else self.progress_bar
        return lightning.Trainer(
            default_root_dir=run_dir,
            accelerator="gpu" if self.on_gpu else "cpu",
            devices=self.num_processes,
            num_nodes=self.num_nodes,
            strategy=self._strategy(),
            max_epochs=self.max_epochs,
            callbacks=[
                *([HistoryWriter(run_dir / "metrics.csv")] if write_history else []),
                ProgressReporter(show_bar=show_bar),
                *callbacks,
            ],
            logger=list(loggers) or False,
            # A job that is requeued goes on from our last.ckpt, not from one that Lightning
            # writes inside a signal handler.
            plugins=[SLURMEnvironment(auto_requeue=False)] if in_slurm else None,
            inference_mode=False,  # forces are derivatives, in validation too
            use_distributed_sampler=False,  # our BatchSampler deals the frames
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    def _strategy(self) -> DDPStrategy | Literal["auto"]:
        if self.num_processes * self.num_nodes == 1:
            return "auto"
        return DDPStrategy(
            find_unused_parameters=False,
            broadcast_buffers=False,  # the model's buffers are constants
            process_group_backend="nccl" if self.on_gpu else "gloo",
        )


def fit(
    module: MACEModule,
    datamodule: lightning.LightningDataModule,
    *,
    settings: TrainerSettings,
    run_dir: Path,
    callbacks: Sequence[EpochCallback] = (),
    loggers: Sequence[Logger] = (),
    write_history: bool = True,
    checkpoint: Path | None = None,
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
        checkpoint: Go on from this one; None: begin anew.

    Returns:
        The trainer, when it is done.

    Raises:
        ValueError: If the checkpoint cannot be gone on with, the loss or a gradient is not
            finite, or no epoch had a finite validation loss.
    """
    if checkpoint is not None:
        num_epochs = read_checkpoint(checkpoint)["num_epochs"]
        require_epochs_left(num_epochs, checkpoint, settings.max_epochs)
        logger.info("going on from %s, after %d epochs", checkpoint, num_epochs)
    with quiet_lightning(), _float32_products(settings):
        trainer = settings.build(
            run_dir, callbacks=callbacks, loggers=loggers, write_history=write_history
        )
        trainer.fit(module, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    if module.stages.best.epoch is None:
        raise ValueError(
            "the validation loss was NaN or infinite in every epoch, so there is no model "
            "to keep: lower optim.lr, and look at the labels of the validation frames"
        )
    return trainer


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
            # Its successor does not keep the buffers out of the first synchronisation.
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")
            # Of weights with an axis of length 1, whose stride says nothing.
            warnings.filterwarnings("ignore", "Grad strides do not match", UserWarning)
            yield
    finally:
        for log, level in zip(loggers, levels):
            log.setLevel(level)
