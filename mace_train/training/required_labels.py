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


def require_labels(
    frames: FrameSet, loss_weights: Mapping[str, float], *, of_each_head: bool = True
) -> None:
    """Check that every label with a weight in the loss occurs in the frames of every head.

    A label that no set of a head gives any weight to is not asked for.

    Args:
        frames: Those to train on.
        loss_weights: Weight of ``energy``, ``forces`` and ``stress``.
        of_each_head: If False, a head may be without a label that another head has, as
            long as it has any.

    Raises:
        ValueError: Names the label, the head where there are several, and the override that
            drops its term.
    """
    store = frames.store
    if not isinstance(store, MixedStore):
        frames.require_labels(loss_weights)
        return
    if not of_each_head:
        missing = _missing(frames, loss_weights)
        if missing:
            raise ValueError("\n".join(missing))
        _require_any_label(frames, store, loss_weights)
        return
    for head, name in enumerate(store.heads):
        missing = _missing(frames, loss_weights, head=head)
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


def weighted_frames(frames: FrameSet, label: str, *, head: int | None = None) -> FrameSet:
    """The frames whose sets give a label some weight.

    Args:
        frames: Of any sets.
        label: ``energy``, ``forces`` or ``stress``.
        head: Place of the head that they belong to; None: any.
    """
    store = frames.store
    if not isinstance(store, MixedStore):
        return frames
    asked = [
        head in (None, role.head) and getattr(role, f"{label}_weight") > 0
        for role in store.roles
    ]
    return frames.where(np.array(asked)[store.set_of(frames.indices)])


def _missing(
    frames: FrameSet, loss_weights: Mapping[str, float], *, head: int | None = None
) -> list[str]:
    """What is said of each label that weighted sets, of a head or of all, do not have."""
    messages = []
    for label, weight in loss_weights.items():
        chosen = weighted_frames(frames, label, head=head)
        try:
            chosen.require_labels({label: weight if len(chosen) else 0.0})
        except ValueError as error:
            messages.append(str(error))
    return messages


def _require_any_label(
    frames: FrameSet, store: MixedStore, loss_weights: Mapping[str, float]
) -> None:
    """Refuse a head that nothing in the loss would teach."""
    weighted = [label for label, weight in loss_weights.items() if weight > 0]
    for head, name in enumerate(store.heads):
        found = (weighted_frames(frames, label, head=head) for label in weighted)
        if any(one.label_counts[label] for label, one in zip(weighted, found)):
            continue
        count = int((store.head_of(frames.indices) == head).sum())
        raise ValueError(
            f"head {name}: none of its {count} training frames has a label that the loss "
            f"weighs ({', '.join(weighted)}), so that it would learn nothing: name the "
            "labels in its sets, as in '[{path: PATH, energy_key: NAME}]'; or, for frames "
            "of data.replay, let the parent give them (finetune.replay_labels=parent)"
        )
