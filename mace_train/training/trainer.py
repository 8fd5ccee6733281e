"""`TrainerSettings`: how long and on what to train, and the trainer for that.

Floor 4. Every choice that Lightning would make otherwise, and that would be wrong for
forces by autograd, for batches of our own dealing or for a quiet log, is made here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import lightning
import torch

from mace_train.constraints import PositiveInt
from mace_train.training.callbacks import HistoryWriter
from mace_train.training.launch import check_launch, job_shape
from mace_train.training.launched_ranks import cluster_environment
from mace_train.training.progress import ProgressReporter
from mace_train.training.rank_strategy import RankStrategy, leave_stopping_to_wishes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lightning.pytorch.loggers import Logger


@dataclass(frozen=True)
class TrainerSettings:
    """How long and on what to train.

    Args:
        max_epochs: Epochs of the whole run, those before a resume included.
        accelerator: Where to compute; ``auto``: on GPUs if there are any.
        devices: Processes on this machine; ``auto``: those that srun or torchrun has
            started; else one on the CPU, or one for each GPU.
        num_nodes: Machines that train together; ``auto``: as started, else 1.
        launcher: What must have started the processes; ``auto``: whatever did.
        num_threads: CPU threads of each process; None: one for the chunked backend, else
            torch's choice.
        max_time: When to save and end, counted from the start: ``HH:MM:SS``,
            ``D-HH:MM:SS`` or seconds; ``auto``: the time limit of the SLURM job, if there
            is one; None: never. A run that ended so goes on by the same command.
        tf32: Let GPUs round the factors of float32 products to 10 bits, which is faster.
            Forces and gradients then err by 1e-3 of their size and energies by up to 0.3
            meV/atom (measured by rounding on a CPU, with trained models). Rounding to the
            7 bits of bfloat16 costs 7e-3 and 1.6 meV/atom: too much to be offered.
        progress_bar: Whether to draw a bar; ``auto``: on a terminal.
    """

    max_epochs: PositiveInt
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Literal["auto"] | PositiveInt = "auto"
    num_nodes: Literal["auto"] | PositiveInt = "auto"
    launcher: Literal["auto", "srun", "torchrun"] = "auto"
    num_threads: PositiveInt | None = None
    max_time: int | str | None = "auto"
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
            ValueError: If there are fewer GPUs than asked for, or than tasks of srun.
        """
        num_gpus = torch.cuda.device_count() if self.on_gpu else 0
        shape = job_shape(os.environ)
        if self.devices == "auto" and shape is None:
            return num_gpus or 1
        devices = shape[0] if self.devices == "auto" and shape else int(self.devices)
        if self.on_gpu and devices > num_gpus:
            hint = "" if shape is None else " (srun's --gpus-per-task hides the others)"
            raise ValueError(
                f"trainer.devices={devices}, but this process sees {num_gpus} GPUs{hint}"
            )
        return devices

    @property
    def num_machines(self) -> int:
        """Machines that train together."""
        shape = job_shape(os.environ)
        if self.num_nodes == "auto":
            return 1 if shape is None else shape[1]
        return self.num_nodes

    @property
    def num_ranks(self) -> int:
        """Processes on all machines."""
        return self.num_processes * self.num_machines

    def check_launch(self) -> None:
        """Refuse to train where the processes started are not those asked for.

        Raises:
            ValueError: It names a variable that is missing, or both numbers.
        """
        check_launch(
            os.environ,
            devices=self.devices,
            num_nodes=self.num_nodes,
            launcher=self.launcher,
        )

    def build(
        self,
        run_dir: Path,
        *,
        callbacks: Sequence[lightning.Callback] = (),
        loggers: Sequence[Logger] = (),
        write_history: bool = True,
    ) -> lightning.Trainer:
        """The trainer of a run.

        Args:
            run_dir: Folder that the run writes to.
            callbacks: Besides those for metrics.csv and progress; called after them. The
                ``columns`` of one are columns of metrics.csv too.
            loggers: Where metrics go besides metrics.csv.
            write_history: Whether there is a metrics.csv.
        """
        if self.num_threads is not None:
            torch.set_num_threads(self.num_threads)
        self.check_launch()
        columns = [name for one in callbacks for name in getattr(one, "columns", ())]
        history = HistoryWriter(run_dir / "metrics.csv", more_columns=columns)
        show_bar = None if self.progress_bar == "auto" else self.progress_bar
        trainer = lightning.Trainer(
            default_root_dir=run_dir,
            accelerator="gpu" if self.on_gpu else "cpu",
            devices=self.num_processes,
            num_nodes=self.num_machines,
            strategy=self._strategy(),
            max_epochs=self.max_epochs,
            callbacks=[
                *([history] if write_history else []),
                ProgressReporter(show_bar=show_bar),
                *callbacks,
            ],
            logger=list(loggers) or False,
            plugins=[cluster_environment()],
            inference_mode=False,  # forces are derivatives, in validation too
            use_distributed_sampler=False,  # our BatchSampler deals the frames
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        leave_stopping_to_wishes(trainer)
        return trainer

    def _strategy(self) -> RankStrategy | Literal["auto"]:
        if self.num_ranks == 1:
            return "auto"
        return RankStrategy(process_group_backend="nccl" if self.on_gpu else "gloo")
