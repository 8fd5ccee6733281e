"""`MACEModule`: one training step, one validation, and what a checkpoint holds. No physics.

Floor 4. Lightning calls the hooks below; losses, averages, schedules and stages are objects
of their own, asked at the right moment:

    step:   learning rate -> gradient of the global batch's loss -> clip -> guard
            -> optimizer -> average of the weights
    epoch:  validation with the averaged weights -> schedule, best epoch, early stopping
            (then the callbacks write metrics.csv and the checkpoints)

Random numbers begin anew in every step from seed, epoch, step and rank, so that a run that
was stopped anywhere goes on as if it had not been.
"""
# ruff: noqa: ARG002 - Lightning gives its hooks more than each of them needs

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch

from mace_train.checkpoints.training_checkpoint import CHECKPOINT_KEY, FORMAT_VERSION
from mace_train.training.ema import AveragedWeights, WeightAverage, state_to_use
from mace_train.training.epoch_sums import EpochSums
from mace_train.training.gradients import BatchGradient
from mace_train.training.guard import GuardedStep, StepGuard
from mace_train.training.optim import use_fused_steps
from mace_train.training.position import Position, write_progress
from mace_train.training.ranks import sum_over_ranks
from mace_train.training.resume import require_same_architecture, require_same_weights
from mace_train.training.roll_call import require_equal_configs
from mace_train.training.stages import EarlyStopping, Stages, StageTwo
from mace_train.training.wishes import Wishes

if TYPE_CHECKING:
    from collections.abc import Callable

    from mace_train.micro_batches import MicroBatches
    from mace_train.model.mace import MACE
    from mace_train.training.history import Row
    from mace_train.training.loss import Loss
    from mace_train.training.optim import Optimizer, Schedule

logger = logging.getLogger(__name__)


class MACEModule(lightning.LightningModule):
    """A model in training.

    Args:
        model: The model, with its initial weights.
        loss: Loss of the first stage.
        optimizer: Setting of the optimizer.
        schedule: Rule of the learning rate in the first stage.
        ema: Setting of the averaged weights.
        stage_two: Setting of the second stage.
        early_stopping: Setting of early stopping.
        seed: With epoch, step and rank it seeds torch's random numbers in every step.
        max_edges: The most directed edges of a micro-batch; see `BatchGradient`.
        metadata: Plain values that every checkpoint carries along: units, statistics,
            config ...
        frame_name: How a message calls the frame of an index in the training set.
    """

    def __init__(
        self,
        model: MACE,
        loss: Loss,
        *,
        optimizer: Optimizer,
        schedule: Schedule,
        ema: WeightAverage | None = None,
        stage_two: StageTwo | None = None,
        early_stopping: EarlyStopping | None = None,
        seed: int = 0,
        max_edges: int | None = None,
        metadata: dict[str, Any] | None = None,
        frame_name: Callable[[int], str] = "frame {}".format,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False  # `training_step` does it all
        self.model = model
        self.gradient = BatchGradient(model, max_edges=max_edges)
        self.wishes = Wishes()
        self.position = Position()
        self.loss = loss
        self.optimizer = optimizer
        self.schedule = schedule
        self.ema = ema or WeightAverage(decay=None)
        self.stages = Stages(stage_two or StageTwo(), early_stopping or EarlyStopping())
        self.seed = seed
        self.metadata = metadata or {}
        self.frame_name = frame_name
        self.averaged: AveragedWeights | None = None
        self.row: Row = {}
        self.measured: Row = {}  # by callbacks, whose hooks come before ours
        self.is_best = False
        self._averaged_state: dict[str, Any] | None = None
        self._swapped = ExitStack()
        self._guard: StepGuard | None = None
        self._sums = EpochSums()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer."""
        return self.optimizer.build(self.model)

    def setup(self, stage: str) -> None:
        """Refuse to train where ranks differ, before they exchange anything else."""
        parts = (self.loss, self.optimizer, self.ema, self.stages.stage_two, self.seed)
        told = {"parts": repr(parts), "hyperparameters": self.model.hyperparameters}
        device = self.trainer.strategy.root_device
        require_equal_configs({**self.metadata, **told}, device=device)

    def on_fit_start(self) -> None:
        """Begin, or go on with, the average of the weights."""
        self.train()
        is_late = self.device.type != "cpu"
        self._guard = StepGuard(self.model, frame_name=self.frame_name, is_late=is_late)
        self.wishes.is_late = is_late
        self.averaged = self.ema.follow(self.model)
        if self.averaged is not None and self._averaged_state is not None:
            self.averaged.load_state_dict(self._averaged_state)
        self._averaged_state = None
        if self.stages.current == 2:
            self.loss = self.stages.stage_two.loss(self.loss)

    def on_train_start(self) -> None:
        """A run that early stopping has ended stays ended after a resume."""
        self.trainer.should_stop = self.stages.is_finished
        if self.position.is_mid_epoch:  # then Lightning announces no start of the epoch
            self._sums = EpochSums(self.device, state=self.position.epoch_sums)

    def on_train_epoch_start(self) -> None:
        """Begin an epoch, and with it the second stage if that is due."""
        if self.stages.stage_two_is_due(self.current_epoch):
            self.stages.begin_stage_two()
            self.loss = self.stages.stage_two.loss(self.loss)
            logger.info("stage two begins with epoch %d: %s", self.current_epoch, self.loss)
        self._sums = EpochSums(self.device)
        self.position = Position(epoch=self.current_epoch)

    def transfer_batch_to_device(
        self, batch: MicroBatches, device: torch.device, dataloader_idx: int
    ) -> MicroBatches:
        """Send a batch on its way; from page-locked memory this does not wait."""
        return batch.to(device, non_blocking=True)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        if self.stages.current == 2:
            return self.stages.stage_two.lr
        lr = self.schedule.learning_rate(self.optimizer.lr, epoch=self.current_epoch)
        return lr * self.optimizer.warmup_factor(self.global_step)

    def on_train_batch_start(self, batch: MicroBatches, batch_idx: int) -> None:
        """Begin a step: its clock and its random numbers."""
        self._sums.clock.begin_step()
        entropy = [self.seed, self.current_epoch, batch_idx, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def training_step(self, batch: MicroBatches, batch_idx: int) -> None:
        """One step of the optimizer for a global batch, of which ``batch`` is our share.

        Raises:
            NonFiniteError: On every rank alike, before a NaN reaches the weights; it names
                the frames of the batch.
        """
        assert self._guard is not None
        optimizer = self.trainer.optimizers[0]
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate
        terms = self.gradient.compute(
            batch, loss=self.loss, wishes=self.wishes, clock=self._sums.clock
        )
        self._sums.add_step(terms.sums, terms.counts, num_frames=batch.num_graphs)
        norm = self.optimizer.clip(self.model)
        where = f"epoch {self.current_epoch}, step {self.global_step}"
        is_bad = ~torch.isfinite(norm) | terms.is_bad
        self._guard.watch(is_bad, GuardedStep(batch, where), optimizer=optimizer)
        self.optimizers().step()  # type: ignore[union-attr] - there is one
        if self.averaged is not None:
            self.averaged.update(self._guard.share_taken)
        self.position.batches_done += 1
        self._sums.clock.end_step()

    def on_train_batch_end(self, outputs: Any, batch: MicroBatches, batch_idx: int) -> None:
        """End the run if that is agreed on; callbacks have written checkpoints before."""
        self.wishes.raise_if_stopped()
        self._sums.clock.resume()

    def on_validation_start(self) -> None:
        """Validate with the averaged weights."""
        self._sums.begin_validation()
        if self.averaged is not None:
            self._swapped.enter_context(self.averaged.swapped_in())

    def validation_step(self, batch: MicroBatches, batch_idx: int) -> None:
        """Add a batch to the sums of the validation."""
        for graph, prediction in self.gradient.predict(batch):
            sums, counts = self.loss.terms(prediction, graph)
            self._sums.add_validation(sums, counts, prediction=prediction, graph=graph)
        self.wishes.hear(sum_over_ranks(self.wishes.numbers(self.device)))

    def on_validation_batch_end(
        self, outputs: Any, batch: MicroBatches, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """End the run if that is agreed on; `CheckpointWriter` has called the next hook."""
        self.wishes.raise_if_stopped()

    def on_validation_end(self) -> None:
        """Go on with the trained weights."""
        self._swapped.close()

    def on_train_epoch_end(self) -> None:
        """Sum up the epoch over all ranks, and decide how the run goes on."""
        assert self._guard is not None
        self._guard.settle()
        results = self._sums.results()
        self.row = {
            "epoch": self.current_epoch,
            "step": self.global_step,
            "stage": self.stages.current,
            "lr": self.trainer.optimizers[0].param_groups[0]["lr"],
            **results,
            **self.measured,
        }
        valid_loss = results["valid/loss"]
        monitored = results["train/loss"] if valid_loss is None else valid_loss
        assert monitored is not None
        self.is_best = self.stages.best.update(monitored, epoch=self.current_epoch)
        if self.stages.current == 1:
            self.schedule.observe(monitored)
        self.trainer.should_stop = self.stages.is_finished
        self.position = Position(epoch=self.current_epoch + 1)
        if self.stages.is_finished:
            logger.info(
                "early stopping: no better loss for %d epochs; the best was epoch %s",
                self.stages.best.num_since,
                self.stages.best.epoch,
            )
        metrics = {name: value for name, value in self.row.items() if value is not None}
        for log in self.loggers:
            log.log_metrics(metrics, step=self.global_step)

    @property
    def slowest_step(self) -> float:
        """Seconds, in this epoch."""
        return self._sums.clock.slowest_step

    def running_loss(self) -> float:
        """Loss of this rank's frames in the epoch so far."""
        return self._sums.running_loss()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is ours to a checkpoint; plain values and tensors, nothing pickled."""
        if self._guard is not None:
            self._guard.settle()  # of a bad step there is no checkpoint
        position = self.position
        loader: Any = self.trainer.train_dataloader
        position.num_batches = len(loader)
        if position.is_mid_epoch:
            position.epoch_sums = self._sums.state_dict()
        write_progress(checkpoint["loops"], position)
        averaged = self.averaged
        checkpoint[CHECKPOINT_KEY] = {
            "format": FORMAT_VERSION,
            "num_epochs": position.epoch,
            "position": position.state_dict(),
            "sampler": loader.batch_sampler.state_dict(batches_done=position.batches_done),
            "hyperparameters": self.model.hyperparameters,
            "metadata": self.metadata,
            "ema_model_state": state_to_use(self.model, averaged),
            "averaged_weights": None if averaged is None else averaged.state_dict(),
            "schedule": {type(self.schedule).__name__: self.schedule.state_dict()},
            "stages": self.stages.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: If it is of another architecture; the message says how it differs.
        """
        saved = checkpoint[CHECKPOINT_KEY]
        require_same_architecture(saved["hyperparameters"], self.model.hyperparameters)
        require_same_weights(checkpoint["state_dict"], self.state_dict())
        use_fused_steps(checkpoint["optimizer_states"])
        self._averaged_state = saved["averaged_weights"]
        kind = type(self.schedule).__name__
        if kind in saved["schedule"]:
            self.schedule.load_state_dict(saved["schedule"][kind])
        else:
            logger.warning("another schedule than the checkpoint's: %s begins anew", kind)
        self.stages.load_state_dict(saved["stages"])
        self.position = Position.from_entry(saved)
