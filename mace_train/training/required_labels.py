"""Whether every head has labels for all that the loss weighs.

Floor 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mace_train.data.mixed_store import MixedStore

if TYPE_CHECKING:
    from mace_train.training.frame_set import FrameSet


def require_labels(frames: FrameSet, loss_weights: Mapping[str, float]) -> None:
    """Check that every label with a weight in the loss occurs in the frames of every head.

    A label that no set of a head gives any weight to is not asked for.

    Args:
        frames: Those to train on.
        loss_weights: Weight of ``energy``, ``forces`` and ``stress``.

    Raises:
        ValueError: Names the label, the head where there are several, and the override that
            drops its term.
    """
    store = frames.store
    if not isinstance(store, MixedStore):
        frames.require_labels(loss_weights)
        return
    for head, name in enumerate(store.heads):
        missing = _missing(frames, store, loss_weights, head=head)
        if missing and len(store.heads) == 1:
            raise ValueError("\n".join(missing))
        if missing:
            raise ValueError(
                "\n".join([f"head {name}:", *missing])
                + "\nor name the label in its sets alone, as in data.train='[{path: PATH, "
                "energy_key: NAME}]'"
                "\nor leave the term out for this head alone, with energy_weight, "
                "forces_weight or stress_weight 0 in its sets of data.train"
            )


def _missing(
    frames: FrameSet, store: MixedStore, loss_weights: Mapping[str, float], *, head: int
) -> list[str]:
    """What is said of each label that the weighted sets of a head do not have."""
    messages = []
    for label, weight in loss_weights.items():
        asked = [
            role.head == head and getattr(role, f"{label}_weight") > 0
            for role in store.roles
        ]
        chosen = frames.where(np.array(asked)[store.set_of(frames.indices)])
        try:
            chosen.require_labels({label: weight if len(chosen) else 0.0})
        except ValueError as error:
            messages.append(str(error))
    return messages
