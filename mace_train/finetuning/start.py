"""The model that a fine-tuning begins with, made of the parent and the user's frames.

Floor 5. Up to its E0s, it predicts exactly what the parent predicts.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mace_train.data.mixed_store import MixedStore
from mace_train.finetuning.reference_energies import (
    ReferenceEnergies,
    find_reference_energies,
)
from mace_train.finetuning.user_frames import check_user_frames
from mace_train.training.frame_set import FrameSet
from mace_train.transfer.elements import keep_elements
from mace_train.transfer.energies import with_atomic_energies
from mace_train.transfer.heads import with_new_head
from mace_train.transfer.low_rank import add_low_rank_updates
from mace_train.transfer.trainable import num_trainable, set_trainable

if TYPE_CHECKING:
    from mace_train.finetuning.settings import FineTuning, Method
    from mace_train.model.mace import MACE
    from mace_train.training.datamodule import MACEDataModule

logger = logging.getLogger(__name__)

_E0_FRAMES = 1000


@dataclass(frozen=True)
class Start:
    """Where a fine-tuning begins.

    Attributes:
        parent: The model as it came, with the one head and the elements that are kept.
        model: What is trained.
        method: How.
        reason: Why this method.
        energies: E0s of the parent and of the model.
    """

    parent: MACE
    model: MACE
    method: Method
    reason: str
    energies: ReferenceEnergies

    def untrained(self) -> MACE:
        """A plain model that predicts what training began with: the parent, new E0s."""
        names = list(self.model.heads)
        return _with_energies(self.parent, self.energies, names=names).eval()

    def as_dict(self) -> dict[str, Any]:
        """Plain values for results.json and the model file."""
        return {
            "method": self.method,
            "reason": self.reason,
            "parent_head": self.parent.heads[0],
            "reference_energies": self.energies.as_dict(),
        }


def make_start(
    parent: MACE,
    datamodule: MACEDataModule,
    settings: FineTuning,
    *,
    has_replay: bool,
    seed: int,
) -> Start:
    """Make the model that is trained, and tell the data module of its E0s.

    Args:
        parent: With one head.
        datamodule: After its setup.
        settings: Of the fine-tuning.
        has_replay: Whether frames are replayed to the parent's head.
        seed: Of the low-rank updates.

    Raises:
        ValueError: If the frames cannot be learned from, an element has no E0, or a block
            to be trained does not exist.
    """
    data = datamodule.data
    mine, valid = (user_frames(data.sets[name]) for name in ("train", "valid"))
    check_user_frames(mine, valid, elements_known=parent.elements)
    method, reason = settings.choose_method(num_frames=len(mine), has_replay=has_replay)
    logger.info("method of fine-tuning: %s (%s)", method, reason)
    dropped = len(parent.elements) - len(data.elements)
    if dropped:
        parent = keep_elements(parent, data.elements.atomic_numbers)
        logger.info("the model keeps %s", " ".join(data.elements.symbols))
        logger.info("and leaves out %d elements (finetune.elements=data)", dropped)
    sample = mine.random_sample(_E0_FRAMES, seed=seed)
    energies = find_reference_energies(parent, datamodule.graphs(sample), e0s=settings.e0s)
    energies.tell()
    model = _model(parent, energies, settings, method=method, seed=seed)
    by_head = {
        head: replace(
            statistics,
            atomic_energies=np.array(values),
            e0_source=settings.e0s if place == 0 else statistics.e0_source,
            determined=energies.determined | (energies.num_frames == 0)
            if place == 0
            else statistics.determined,
        )
        for place, ((head, statistics), values) in enumerate(
            zip(data.statistics_by_head.items(), model.hyperparameters["atomic_energies"])
        )
    }
    datamodule.use_statistics(by_head)
    return Start(parent, model, method, reason, energies)


def user_frames(frames: FrameSet) -> FrameSet:
    """The user's own frames of a split: without those that are replayed."""
    if not isinstance(frames.store, MixedStore):
        return frames
    return frames.where(frames.store.head_of(frames.indices) == 0)


def _model(
    parent: MACE,
    energies: ReferenceEnergies,
    settings: FineTuning,
    *,
    method: Method,
    seed: int,
) -> MACE:
    """The parent with new E0s, and as the method wants it."""
    names = [*parent.heads] if method != "replay" else [settings.head, *parent.heads]
    model = _with_energies(parent, energies, names=names).train().requires_grad_(True)
    if method == "freeze":
        moving = set_trainable(model, settings.trainable)
        logger.info(
            "%d of %d numbers move: %s",
            num_trainable(model),
            model.num_parameters,
            ", ".join(moving),
        )
    if method == "lora":
        total = model.num_parameters
        add_low_rank_updates(model, rank=settings.lora_rank, seed=seed)
        logger.info(
            "low-rank updates of %d numbers, for a model of %d", num_trainable(model), total
        )
    return model


def _with_energies(parent: MACE, energies: ReferenceEnergies, *, names: list[str]) -> MACE:
    """The parent with new E0s, with a head of its own for these if there are two."""
    e0s, model = [energies.new.tolist()], parent
    if len(names) == 2:
        model = with_new_head(parent, names[0], of=parent.heads[0])
        e0s.append(energies.parent.tolist())
    model = with_atomic_energies(model, e0s)
    model.backend = parent.backend
    return model
