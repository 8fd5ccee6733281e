"""The gradient of a global batch's loss, from the parts that the ranks hold.

Floor 4. The loss is a sum over labels divided by the number of labels in the global batch.
That number is known beforehand, so each part's gradient is computed by itself and added up:
over the micro-batches of a rank by autograd, and over ranks by one sum at the end.
No rank waits for another in between. So a rank may cut its share as its memory demands,
also anew when a GPU's memory turns out to be full, and a rank without frames has only the
sum to take part in. (DDP's wrapper would sum up in pieces during each backward, and average
over ranks, which is wrong where these hold different numbers of labels.)
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch

from mace_train.training.loss import total_loss
from mace_train.training.ranks import is_distributed, sum_over_ranks

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor, nn

    from mace_train.graph import AtomicGraph
    from mace_train.micro_batches import MicroBatches
    from mace_train.model.derivatives import Prediction
    from mace_train.model.mace import MACE
    from mace_train.training.loss import Loss
    from mace_train.training.step_clock import StepClock
    from mace_train.training.wishes import Wishes

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True)
class BatchTerms:
    """What a step's loss is made of.

    Attributes:
        sums: This rank's `Loss.terms`.
        counts: This rank's number of labels.
        is_bad: Whether a sum on any rank is NaN or infinite; equal on all ranks.
    """

    sums: Float[Tensor, " 3"]
    counts: Float[Tensor, " 3"]
    is_bad: Tensor


class FrameTooLargeError(ValueError):
    """A single frame does not fit into memory."""

    def __init__(self, graph: AtomicGraph, error: Exception) -> None:
        super().__init__(
            f"the memory is full with one frame of {graph.num_nodes} atoms and "
            f"{graph.num_edges} edges: {str(error).splitlines()[0]} Leave such frames out, "
            "or use a smaller model, dtype=float32 or a device with more memory "
            "(estimate=true tells what is needed)"
        )


class BatchGradient:
    """Computes gradients of global batches into the parameters' ``grad``.

    Args:
        model: In training.
        max_edges: The most directed edges of a micro-batch; None: a share is not cut. When
            a GPU's memory is full, it is halved.
    """

    def __init__(self, model: MACE, *, max_edges: int | None = None) -> None:
        self.model = model
        self.max_edges = max_edges

    def compute(
        self, share: MicroBatches, *, loss: Loss, wishes: Wishes, clock: StepClock
    ) -> BatchTerms:
        """Set each parameter's ``grad`` to the gradient of the global batch's loss.

        Args:
            share: This rank's part of the global batch, perhaps without any frame.
            loss: What is differentiated.
            wishes: Exchanged with the other ranks on the way.
            clock: Told what is communication.

        Raises:
            FrameTooLargeError: If a single frame does not fit.
        """
        device = next(self.model.parameters()).device
        counts = torch.zeros(3, dtype=torch.float64, device=device)
        for graph in share:
            counts = counts + loss.counts(graph)
        with clock.communicating():
            totals = sum_over_ranks(torch.cat([counts, wishes.numbers(device)]))
        wishes.hear(totals[3:])
        sums = self._add_up(share, loss=loss, totals=totals[:3])
        num_bad = (~torch.isfinite(sums)).sum()
        with clock.communicating():
            num_bad = sum_gradients(self.model, num_bad)
        return BatchTerms(sums, counts, num_bad > 0)

    def _add_up(
        self, share: MicroBatches, *, loss: Loss, totals: Float[Tensor, " 3"]
    ) -> Float[Tensor, " 3"]:
        """Add up the gradients of the parts."""

        def add_part(graph: AtomicGraph) -> Tensor:
            prediction = self.model(
                graph,
                compute_forces=loss.forces_weight > 0,
                compute_stress=loss.stress_weight > 0,
            )
            sums, _ = loss.terms(prediction, graph)
            total_loss(sums, totals).backward()
            return sums.detach()

        def forget() -> None:
            for parameter in self.model.parameters():
                parameter.grad = None

        parts = self.over_parts(share, add_part, begin=forget)
        nothing = totals.new_zeros(3, dtype=next(self.model.parameters()).dtype)
        return torch.stack([nothing, *parts]).sum(dim=0)

    def predict(self, share: MicroBatches) -> list[tuple[AtomicGraph, Prediction]]:
        """Micro-batches of a share with energies, forces and stresses, for validation."""
        return self.over_parts(
            share,
            lambda graph: (
                graph,
                self.model(graph, compute_forces=True, compute_stress=True),
            ),
        )

    def over_parts(
        self,
        share: MicroBatches,
        work: Callable[[AtomicGraph], Result],
        *,
        begin: Callable[[], None] = lambda: None,
    ) -> list[Result]:
        """Do something with each micro-batch; anew with smaller ones if memory is full.

        Args:
            share: Cut into micro-batches of `max_edges`.
            work: Takes one of them.
            begin: Called before the first, each time.

        Raises:
            FrameTooLargeError: If a single frame does not fit.
        """
        while True:
            begin()
            results: list[Result] = []
            too_many = None
            for graph in share.within(self.max_edges):
                try:
                    results.append(work(graph))
                except torch.OutOfMemoryError as error:
                    if graph.num_graphs == 1:
                        raise FrameTooLargeError(graph, error) from error
                    too_many = graph.num_edges
                    break
            if too_many is None:
                return results
            # Only here, where the error is forgotten, is the memory free that it held.
            results.clear()
            self._take_smaller_parts(too_many)

    def _take_smaller_parts(self, num_edges: int) -> None:
        """Halve the bound after a micro-batch of so many edges did not fit."""
        self.max_edges = num_edges // 2
        logger.warning(
            "the memory is full: data.max_edges is %d from now on, and the batch is done "
            "again; no result depends on it",
            self.max_edges,
        )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def sum_gradients(model: nn.Module, number: Tensor) -> Tensor:
    """Replace the gradients of all trainable parameters by their sums over ranks.

    One sum of everything: the largest model has 23 MB of gradients, little beside the time
    of a step. A parameter without a gradient gets zeros.

    Args:
        model: With gradients of this rank.
        number: Summed along.

    Returns:
        The sum of ``number``.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if not is_distributed():
        return number
    gradients = [p.grad for p in parameters if p.grad is not None]
    dtype = gradients[0].dtype
    flat = torch.cat([*(g.reshape(-1) for g in gradients), number.to(dtype)[None]])
    sum_over_ranks(flat)
    pieces = flat[:-1].split([gradient.numel() for gradient in gradients])
    views = [piece.view_as(g) for piece, g in zip(pieces, gradients)]
    torch._foreach_copy_(gradients, views)
    return flat[-1]
