"""`StartLoss`: the validation loss before the first step, which an epoch has to beat.

Floor 4. For a run that starts from a trained model: one that got worse is not its best.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import lightning
import torch

from mace_train.training.loss import total_loss
from mace_train.training.module import MACEModule
from mace_train.training.ranks import sum_over_ranks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mace_train.micro_batches import MicroBatches
    from mace_train.training.loss import Loss

logger = logging.getLogger(__name__)


class StartLoss(lightning.Callback):
    """Validates the model that training starts from, unless the run goes on."""

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Tell the stages what the loss of each is before the first step."""
        assert isinstance(pl_module, MACEModule)
        stages, position = pl_module.stages, pl_module.position
        if position.epoch > 0 or position.batches_done > 0:
            return
        loader = trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
        if not loader:
            return
        first = start_loss(pl_module, loader, pl_module.loss)
        second = math.inf
        if stages.stage_two.start_epoch is not None:
            loss = stages.stage_two.loss(pl_module.loss)
            second = start_loss(pl_module, loader, loss)
        if math.isfinite(first):
            stages.must_beat(first, second)
            logger.info("validation loss before the first step: %.6g", first)
        else:
            logger.warning("the validation loss before the first step is not finite")


def start_loss(module: MACEModule, loader: Iterable[MicroBatches], loss: Loss) -> float:
    """The loss of the model's present weights on all ranks' shares of the validation.

    Args:
        module: About to be trained.
        loader: This rank's share of the validation frames.
        loss: What is computed.
    """
    was_training = module.model.training
    module.model.eval()
    terms = torch.zeros(2, 3, dtype=torch.float64, device=module.device)
    for share in loader:
        for graph, prediction in module.gradient.predict(share.to(module.device)):
            sums, counts = loss.terms(prediction, graph)
            terms += torch.stack([sums.detach().double(), counts])
    module.model.train(was_training)
    return total_loss(*sum_over_ranks(terms)).item()
