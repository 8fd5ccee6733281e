"""The guard as a labelled set of frames: the user's own, or one that the parent labels.

Floor 5.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mace_train.data.cache import open_store
from mace_train.data.labels import LabelKeys
from mace_train.finetuning.compared import ComparedSet
from mace_train.finetuning.guard_frames import find_guard
from mace_train.finetuning.parent_labels import structures_of, write_parent_labels
from mace_train.training.data_sets import DEFAULT_HEAD, DataSet, read_sets
from mace_train.training.frame_set import LABEL_NAMES, FrameSet, name_elements
from mace_train.training.joined_sets import open_sets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mace_train.data.store import FrameStore
    from mace_train.elements import ElementTable
    from mace_train.finetuning.compared import Reference
    from mace_train.model.mace import MACE
    from mace_train.training.data_sets import FileSpec

    Progress = Callable[[int, int | None], None]

_NAME = "guard"
_OWN_LABELS = "its own labels"


def made_guard(
    path: Path,
    parent_path: Path | None,
    parent: MACE,
    *,
    elements: ElementTable,
    heads: Sequence[str],
    parent_head: str | None = None,
    max_frames: int = 100,
    seed: int = 0,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> ComparedSet:
    """A guard of probe frames or built structures, with the parent's own labels.

    Args:
        path: Extended XYZ to write it to, e.g. ``guard.extxyz`` in the run's folder.
        parent_path: File of the parent, for its probe frames; None: there is none.
        parent: As it came.
        elements: Those of the fine-tuned model.
        heads: Heads of the fine-tuned model that are compared.
        parent_head: Head of the parent; None: the only one.
        max_frames: How many structures at most.
        seed: Of the rattling of built structures.
        cache_dir: Folder of prepared shards; None: ``$XDG_CACHE_HOME/mace-train``.
        progress: Called with structures labelled and in all.

    Raises:
        ValueError: See `find_guard`.
    """
    found = find_guard(
        parent_path,
        parent,
        elements=elements,
        head=parent_head,
        max_frames=max_frames,
        seed=seed,
    )
    write_parent_labels(path, found.structures, parent, head=parent_head, progress=progress)
    store = open_store(
        path, keys=LabelKeys(are_checked=False), r_max=parent.r_max, cache_dir=cache_dir
    )
    origin = f"{found.origin}, {_OWN_LABELS}"
    return ComparedSet(_NAME, FrameSet.of_all(store), tuple(heads), origin, "parent")


def given_guard(
    spec: FileSpec,
    path: Path,
    parent: MACE,
    *,
    elements: ElementTable,
    heads: Sequence[str],
    keys: LabelKeys,
    known: ElementTable | None = None,
    parent_head: str | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> ComparedSet:
    """The user's guard: with its labels, or where it has none with the parent's.

    Frames of isolated atoms are left out, and so are those with elements that the
    fine-tuned model does not know.

    Args:
        spec: ``data.guard``: files of frames or shards, or sets with names and units of
            their own; heads and weights of these say nothing here.
        path: Extended XYZ that the parent's labels are written to, if they are needed.
        parent: As it came, perhaps without elements that were dropped.
        elements: Those of the fine-tuned model.
        heads: Heads of the fine-tuned model that are compared.
        keys: Names and units of the labels, where a set says nothing of them.
        known: All elements that the parent came with; None: those it has.
        parent_head: Head of the parent; None: the only one.
        cache_dir: Folder of prepared shards; None: ``$XDG_CACHE_HOME/mace-train``.
        progress: Called with frames done and in all.

    Raises:
        ValueError: If files are missing or unfit, the parent does not know an element, or
            no frame is left to compare.
    """
    files = {"r_max": parent.r_max, "cache_dir": cache_dir}

    def open_one(one: DataSet) -> FrameStore:
        own_keys = one.label_keys(keys)
        return open_store(one.path, keys=own_keys, progress=progress, **files)

    sets = [_without_role(one) for one in read_sets("data.guard", spec)]
    store = open_sets(sets, heads=[DEFAULT_HEAD], open_one=open_one)
    every = FrameSet.of_all(store).without_isolated_atoms()
    every.require_elements(
        known or parent.elements,
        who="the parent",
        where="data.guard",
        cure="Leave those frames out: they show nothing that the parent knew.",
    )
    frames = _with_known_elements(every, elements)
    reference: Reference = "unknown"
    origin = f"data.guard, {len(every)} frames"
    if len(frames) < len(every):
        origin += f" ({len(every) - len(frames)} with other elements left out)"
    if not any(frames.label_counts.values()):
        write_parent_labels(
            path, structures_of(frames), parent, head=parent_head, progress=progress
        )
        labelled = open_store(path, keys=LabelKeys(are_checked=False), **files)
        frames = FrameSet.of_all(labelled)
        origin, reference = f"{origin}, the parent's labels", "parent"
    return ComparedSet(_NAME, frames, tuple(heads), origin, reference)


def _without_role(one: DataSet) -> DataSet:
    """The set with its files and labels, but without head and weights."""
    weights = dict.fromkeys(("weight", *(f"{n}_weight" for n in LABEL_NAMES)), 1.0)
    return replace(one, head=DEFAULT_HEAD, hold_out=True, **weights)


def _with_known_elements(frames: FrameSet, elements: ElementTable) -> FrameSet:
    """The frames that the fine-tuned model can predict."""
    unknown = frames.atomic_numbers - set(elements.atomic_numbers)
    held = frames.with_elements(unknown)
    kept = frames.where(~np.isin(frames.indices, held.indices))
    if len(held) and not len(kept):
        raise ValueError(
            f"every frame of data.guard holds {name_elements(unknown)}, which the "
            "fine-tuned model no longer knows: give other frames, or keep the elements "
            "with finetune.elements=all"
        )
    return kept
