"""`MACEModule`: one training step, one validation, and what a checkpoint holds. No physics.

Floor 3. Lightning calls the hooks below; losses, averages, schedules and stages are objects
of their own, asked at the right moment:

    step:   learning rate -> forward -> loss of the global batch -> backward -> clip ->
        optimizer
            -> average of the weights
    epoch:  validation with the averaged weights -> schedule, best epoch, early stopping
            (then the callbacks write metrics.csv and the checkpoints)
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
from mace_train.graph import AtomicGraph
from mace_train.training.ema import AveragedWeights, WeightAverage
from mace_train.training.epoch_sums import EpochSums
from mace_train.training.guard import GuardedStep, StepGuard
from mace_train.training.loss import total_loss
from mace_train.training.optim import use_fused_steps
from mace_train.training.ranks import require_equal_settings, sum_over_ranks
from mace_train.training.resume import require_same_architecture, require_same_weights
from mace_train.training.stages import EarlyStopping, Stages, StageTwo

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

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
        seed: With epoch and rank it seeds torch's random numbers at the start of every
            epoch, so that a run that was stopped goes on as if it had not been.
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
        metadata: dict[str, Any] | None = None,
        frame_name: Callable[[int], str] = "frame {}".format,
    ) -> None:
        super().__init__()
        self.model = model
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
        self.is_best = False
        self._averaged_state: dict[str, Any] | None = None
        self._swapped = ExitStack()
        self._batch: AtomicGraph | None = None
        self._bad_sums = torch.zeros(())
        self._guard: StepGuard | None = None
        self._sums = EpochSums()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Lightning asks for the optimizer."""
        return self.optimizer.build(self.model)

    def on_fit_start(self) -> None:
        """Begin, or go on with, the average of the weights; all ranks must agree."""
        settings = (self.loss, self.optimizer, self.ema, self.stages.stage_two, self.seed)
        require_equal_settings(repr((settings, self.model.hyperparameters)))
        self.train()
        is_late = self.device.type != "cpu"
        self._guard = StepGuard(self.model, frame_name=self.frame_name, is_late=is_late)
        self.averaged = self.ema.follow(self.model)
        if self.averaged is not None and self._averaged_state is not None:
            self.averaged.load_state_dict(self._averaged_state)
        self._averaged_state = None
        if self.stages.current == 2:
            self.loss = self.stages.stage_two.loss(self.loss)

    def on_train_start(self) -> None:
        """A run that early stopping has ended stays ended after a resume."""
        self.trainer.should_stop = self.stages.is_finished

    def on_train_epoch_start(self) -> None:
        """Begin an epoch, and with it the second stage if that is due."""
        entropy = [self.seed, self.current_epoch, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        if self.stages.stage_two_is_due(self.current_epoch):
            self.stages.begin_stage_two()
            self.loss = self.stages.stage_two.loss(self.loss)
            logger.info("stage two begins with epoch %d: %s", self.current_epoch, self.loss)
        self._sums = EpochSums(self.device)

    def transfer_batch_to_device(
        self, batch: AtomicGraph, device: torch.device, dataloader_idx: int
    ) -> AtomicGraph:
        """Send a batch on its way; from page-locked memory this does not wait."""
        return batch.to(device, non_blocking=True)

    def on_train_batch_start(self, batch: AtomicGraph, batch_idx: int) -> None:
        """Set the learning rate of this step."""
        self._batch = batch
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.learning_rate

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        if self.stages.current == 2:
            return self.stages.stage_two.lr
        lr = self.schedule.learning_rate(self.optimizer.lr, epoch=self.current_epoch)
        return lr * self.optimizer.warmup_factor(self.global_step)

    def training_step(self, batch: AtomicGraph, batch_idx: int) -> Tensor:
        """This rank's part of the global batch's loss, so that DDP's average is the whole.

        DDP averages gradients over ranks, hence the factor ``world_size``.
        """
        prediction = self.model(
            batch,
            compute_forces=self.loss.forces_weight > 0,
            compute_stress=self.loss.stress_weight > 0,
        )
        sums, counts = self.loss.terms(prediction, batch)
        bad_sums = (~torch.isfinite(sums.detach())).sum().double()
        totals = sum_over_ranks(torch.cat([counts, bad_sums[None]]))
        self._bad_sums = totals[3]
        self._sums.add_step(sums, counts, num_frames=batch.num_graphs)
        loss = total_loss(sums, totals[:3])
        if self.trainer.world_size > 1:
            # Every parameter takes part on every rank, with or without frames: DDP waits
            # for it.
            untouched = sum(p.sum() for p in self.model.parameters() if p.requires_grad)
            loss = loss * self.trainer.world_size + 0.0 * untouched
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient, or stop the run before a NaN reaches the weights.

        Raises:
            NonFiniteError: On every rank alike; it names the frames of the batch.
        """
        norm = self.optimizer.clip(self.model)
        assert self._batch is not None
        assert self._guard is not None
        where = f"epoch {self.current_epoch}, step {self.global_step}"
        is_bad = ~torch.isfinite(norm) | (self._bad_sums > 0)
        self._guard.watch(is_bad, GuardedStep(self._batch, where), optimizer=optimizer)

    def on_train_batch_end(self, outputs: Any, batch: AtomicGraph, batch_idx: int) -> None:
        """Take the new weights into the average."""
        self._batch = None
        if self.averaged is not None:
            assert self._guard is not None
            self.averaged.update(self._guard.share_taken)
        self._sums.end_step()

    def on_validation_start(self) -> None:
        """Validate with the averaged weights."""
        self._sums.begin_validation()
        if self.averaged is not None:
            self._swapped.enter_context(self.averaged.swapped_in())

    def validation_step(self, batch: AtomicGraph, batch_idx: int) -> None:
        """Add a batch to the sums of the validation."""
        prediction = self.model(batch, compute_forces=True, compute_stress=True)
        sums, counts = self.loss.terms(prediction, batch)
        self._sums.add_validation(sums, counts, prediction=prediction, graph=batch)

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
        }
        train_loss, valid_loss = results["train/loss"], results["valid/loss"]
        monitored = train_loss if valid_loss is None else valid_loss
        assert monitored is not None
        self.is_best = self.stages.best.update(monitored, epoch=self.current_epoch)
        if self.stages.current == 1:
            self.schedule.observe(monitored)
        self.trainer.should_stop = self.stages.is_finished
        if self.stages.is_finished:
            logger.info(
                "early stopping: no better loss for %d epochs; the best was epoch %s",
                self.stages.best.num_since,
                self.stages.best.epoch,
            )
        metrics = {name: value for name, value in self.row.items() if value is not None}
        for log in self.loggers:
            log.log_metrics(metrics, step=self.global_step)

    def running_loss(self) -> float:
        """Loss of this rank's frames in the epoch so far."""
        return self._sums.running_loss()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is ours to a checkpoint; all plain values and tensors, nothing pickled.

        Checkpoints are written at the end of an epoch, when Lightning has not yet counted
        it as
        completed: counted here, loaders of a resumed run find ``trainer.current_epoch``
            right.
        """
        progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]
        for counts in progress.values():
            counts["completed"] = counts["processed"]
        averaged = self.averaged
        checkpoint[CHECKPOINT_KEY] = {
            "format": FORMAT_VERSION,
            "num_epochs": self.current_epoch + 1,
            "hyperparameters": self.model.hyperparameters,
            "metadata": self.metadata,
            "ema_model_state": None if averaged is None else averaged.model_state(),
            "averaged_weights": None if averaged is None else averaged.state_dict(),
            "schedule": {type(self.schedule).__name__: self.schedule.state_dict()},
            "stages": self.stages.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: If it belongs to another architecture; the message names the
                difference.
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
