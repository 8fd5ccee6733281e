"""Stop a run at the first NaN or infinite number, before it reaches the weights.

Floor 3. One NaN in a gradient makes every weight a NaN, and a run that goes on from there
ends without a model. The message names the frames, since a wrong label is the usual cause.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mace_train.training.ranks import gather_over_ranks

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from mace_train.graph import AtomicGraph

MOST_NAMES = 16
"""Frames that a message names."""


class NonFiniteError(ValueError):
    """A loss or a gradient is NaN or infinite."""


def raise_non_finite(
    batch: AtomicGraph,
    model: nn.Module,
    *,
    where: str,
    frame_name: Callable[[int], str],
) -> None:
    """Raise the error of a batch whose loss or gradient is not finite, on every rank alike.

    Frames whose prediction is not finite are named; if there are none, all frames of the
    batch.

    Args:
        batch: This rank's part of the global batch.
        model: As it was before the step.
        where: Epoch and step.
        frame_name: How to call the frame of an index.

    Raises:
        NonFiniteError: Always.
    """
    named, is_culprit = _name_frames(batch, model, frame_name=frame_name)
    parts = gather_over_ranks((named, is_culprit))
    culprits = [name for names, found in parts if found for name in names]
    names = culprits or [name for names, _ in parts for name in names]
    what = "prediction not finite for" if culprits else "frames of the batch:"
    shown = ", ".join(names[:MOST_NAMES])
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    raise NonFiniteError(
        f"loss or gradient is NaN or infinite at {where}; {what} {shown}{more}. "
        "The step was not taken, and the last checkpoint, if there is one, holds the "
        "weights of an epoch before. Look at the labels of these frames; if they are "
        "sound, lower optim.lr or optim.clip_norm."
    )


def _name_frames(
    batch: AtomicGraph, model: nn.Module, *, frame_name: Callable[[int], str]
) -> tuple[list[str], bool]:
    """Names of the frames with a prediction that is not finite, else of all frames."""
    labels = batch.labels
    assert labels is not None
    with torch.no_grad():
        prediction = model(batch, compute_forces=True, compute_stress=False)
    is_bad = ~torch.isfinite(prediction.energy)
    bad_atoms = ~torch.isfinite(prediction.forces).all(dim=1)
    is_bad[batch.graph_index[bad_atoms]] = True
    any_bad = bool(is_bad.any())
    chosen = labels.frame_index[is_bad] if any_bad else labels.frame_index
    return [frame_name(int(index)) for index in chosen], any_bad
