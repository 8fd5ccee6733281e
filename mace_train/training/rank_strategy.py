"""`RankStrategy`: processes that train together, without DDP's wrapper around the model.

Floor 4. Lightning starts the processes, connects them and gives each its device; gradients
are summed by `training.gradients`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy

if TYPE_CHECKING:
    import lightning


class RankStrategy(DDPStrategy):
    """One process a device; all begin with the weights of rank zero."""

    def configure_ddp(self) -> None:
        """Give all ranks the weights of rank zero, and leave the model as it is."""
        assert self.model is not None
        for parameter in self.model.parameters():
            dist.broadcast(parameter.data, src=0)


def leave_stopping_to_wishes(trainer: lightning.Trainer) -> None:
    """Take out Lightning's own question in every step whether rank zero got a SIGTERM.

    It makes the host wait for the GPU each time, and hears of rank zero's signals only;
    `Wishes` travel with a sum that is needed anyway.
    """
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # type: ignore[method-assign]


def _nothing() -> None:
    return
