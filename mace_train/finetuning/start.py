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
    LARGE_OFFSET,
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
    from collections.abc import Callable, Mapping

    from mace_train.elements import ElementTable
    from mace_train.finetuning.settings import FineTuning, Method
    from mace_train.model.mace import MACE
    from mace_train.training.datamodule import MACEDataModule

logger = logging.getLogger(__name__)

_E0_FRAMES = 1000
_FRAMES_PER_ELEMENT = 10
_REPLAYED_FRAMES = 200  # of each set


@dataclass(frozen=True)
class Start:
    """Where a fine-tuning begins.

    Attributes:
        parent: The model as it came, with the one head and the elements that are kept.
        model: What is trained.
        method: How.
        reason: Why this method.
        energies: E0s of the parent and of the model.
        known: All elements of the parent, also those that are not kept.
    """

    parent: MACE
    model: MACE
    method: Method
    reason: str
    energies: ReferenceEnergies
    known: ElementTable

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
    loss_weights: Mapping[str, float] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Start:
    """Make the model that is trained, and tell the data module of its E0s.

    Args:
        parent: With one head.
        datamodule: After its setup.
        settings: Of the fine-tuning.
        has_replay: Whether frames are replayed to the parent's head.
        seed: Of the low-rank updates.
        loss_weights: Weight of ``energy``, ``forces`` and ``stress``; None: all count.
        progress: Is told of the frames whose energies the parent has predicted.

    Raises:
        ValueError: If the frames cannot be learned from, an element has no E0, energies of
            replayed frames have another zero than the parent's, or a block to be trained
            does not exist.
    """
    data = datamodule.data
    mine, valid = (user_frames(data.sets[name]) for name in ("train", "valid"))
    check_user_frames(mine, valid, loss_weights=loss_weights)
    method, reason = settings.choose_method(num_frames=len(mine), has_replay=has_replay)
    logger.info("method of fine-tuning: %s (%s)", method, reason)
    known = parent.elements
    dropped = len(known) - len(data.elements)
    if dropped:
        parent = keep_elements(parent, data.elements.atomic_numbers)
        logger.info("the model keeps %s", " ".join(data.elements.symbols))
        logger.info("and leaves out %d elements (finetune.elements=data)", dropped)
    _require_parents_energies(parent, datamodule, seed=seed)
    energies = _reference_energies(
        parent, datamodule, mine, e0s=settings.e0s, seed=seed, progress=progress
    )
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
    return Start(parent, model, method, reason, energies, known)


def user_frames(frames: FrameSet) -> FrameSet:
    """The user's own frames of a split: without those that are replayed."""
    if not isinstance(frames.store, MixedStore):
        return frames
    return frames.where(frames.store.head_of(frames.indices) == 0)


def _reference_energies(
    parent: MACE,
    datamodule: MACEDataModule,
    mine: FrameSet,
    *,
    e0s: str,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> ReferenceEnergies:
    """E0s of the new model, from a sample with frames of every element."""
    labelled = _with_energies_known(mine)
    sample = labelled.random_sample(_E0_FRAMES, seed=seed)
    places, counts = sample.indices, dict[int, int]()
    for number in labelled.atomic_numbers:
        holders = labelled.with_elements([number])
        counts[number] = len(holders)
        if np.isin(holders.indices, places).sum() < _FRAMES_PER_ELEMENT:
            more = holders.random_sample(_FRAMES_PER_ELEMENT, seed=seed)
            places = np.union1d(places, more.indices)
    sample = FrameSet(mine.store, places)
    graphs = datamodule.graphs(sample)
    energies = find_reference_energies(parent, graphs, e0s=e0s, progress=progress)
    by_element = [counts.get(number, 0) for number in parent.elements.atomic_numbers]
    return replace(energies, num_frames=np.array(by_element))


def _require_parents_energies(
    parent: MACE, datamodule: MACEDataModule, *, seed: int
) -> None:
    """Refuse replayed frames whose energies are not those of the parent's head.

    That head keeps the parent's E0s; with other ones it would unlearn its energies.
    """
    train = datamodule.data.sets["train"]
    if not isinstance(train.store, MixedStore):
        return
    member = train.store.set_of(train.indices)
    for number, role in enumerate(train.store.roles):
        frames = _with_energies_known(train.where(member == number))
        if role.head == 0 or role.energy_weight == 0 or not len(frames):
            continue
        sample = frames.random_sample(_REPLAYED_FRAMES, seed=seed)
        found = find_reference_energies(parent, datamodule.graphs(sample), e0s="parent")
        name = train.store.names[number]
        differ = (
            f"the energies of {name} differ from the parent's by "
            f"{found.offset_before:.3g} eV/atom (rms of {len(sample)} frames)"
        )
        if found.is_other_reference:
            raise ValueError(
                f"{differ} and plainly have another zero (another code, functional or set "
                "of pseudopotentials), but the parent's head goes on with the parent's "
                "E0s: let the parent label these structures with "
                "finetune.replay_labels=parent, or replay frames of its own training data"
            )
        if found.offset_before > LARGE_OFFSET:
            logger.warning(
                "%s: if they are not of the parent's level of theory, set "
                "finetune.replay_labels=parent",
                differ,
            )


def _with_energies_known(frames: FrameSet) -> FrameSet:
    return frames.where(frames.store.label_presence["energy"][frames.indices])


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
