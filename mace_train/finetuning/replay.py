"""Frames of the parent's kind that a second head goes on learning: ``data.replay``.

Floor 5. They become further sets of ``data.train`` with the parent's head, with the labels
that they carry, or with those that the parent itself gives them. None of them validates:
the best model is best on the user's frames.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from mace_train.data.cache import exclusive_lock
from mace_train.finetuning.parent_labels import read_structures, write_parent_labels
from mace_train.training.data_sets import DEFAULT_HEAD, DataSet, SetConfig, read_sets
from mace_train.training.whole_file import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from mace_train.data.store import FrameStore
    from mace_train.model.mace import MACE
    from mace_train.training.data_sets import FileSpec

logger = logging.getLogger(__name__)

ReplayLabels = Literal["auto", "file", "parent"]
OpenSet = Callable[[DataSet], "FrameStore"]
Progress = Callable[[int, int | None], None]
ShowProgress = Callable[[str], AbstractContextManager[Progress | None]]

_OWN_FORM = {
    "energy_key": "auto",
    "forces_key": "auto",
    "stress_key": "auto",
    "units": {"energy": "eV", "length": "angstrom"},
    "check_labels": False,
}
"""Names and units of the labels in a file of ours."""


def user_sets(key: str, spec: FileSpec, *, head: str) -> list[SetConfig]:
    """The user's sets, all of them learned by one head.

    Args:
        key: For messages, such as ``data.train``.
        spec: Its value.
        head: Of the model that is trained.

    Raises:
        ValueError: If a set names another head.
    """
    sets = read_sets(key, spec)
    for one in sets:
        if one.head not in (DEFAULT_HEAD, head):
            raise ValueError(
                f"the set {one.name} of {key} names the head {one.head}, but all of your "
                f"frames train the head {head}: name it with finetune.head={one.head}, and "
                "give frames of the parent's kind as data.replay"
            )
    return [_config(one, head=head) for one in sets]


def replay_sets(
    spec: FileSpec,
    *,
    labels: ReplayLabels,
    parent: MACE,
    folder: Path,
    open_set: OpenSet,
    show_progress: ShowProgress = lambda _: nullcontext(),
) -> list[SetConfig]:
    """Sets with the head of the parent, and labels for all of their frames.

    Args:
        spec: Value of ``data.replay``.
        labels: ``file``: those of the files; ``parent``: what the parent says, written to
            ``folder``; ``auto``: the file's where all frames have energy and forces.
        parent: With one head.
        folder: For files with the parent's labels; one that is there already is used again
            if nothing has changed.
        open_set: Opens the frames of a set with its labels.
        show_progress: Opens, for a piece of work by name, what is told of the frames done.

    Raises:
        ValueError: If a set has no frames, names another head, or structures cannot be
            labelled.
    """
    (head,) = parent.heads
    sets = []
    for number, one in enumerate(read_sets("data.replay", spec)):
        if one.head not in (DEFAULT_HEAD, head):
            raise ValueError(
                f"the set {one.name} of data.replay names the head {one.head}, but frames "
                f"are replayed to the parent's head {head}: leave head out there"
            )
        config: dict[str, Any] = {**_config(one, head=head)}
        config |= {"name": f"replay {one.name}", "hold_out": False}
        if labels == "parent" or (labels == "auto" and not _is_labelled(open_set(one))):
            path = folder / f"{number}.extxyz"
            with show_progress(f"labelling {one.name}") as progress:
                why = labels == "parent"
                _write_labels(path, one, parent=parent, is_asked=why, progress=progress)
            config |= {"path": str(path), **_OWN_FORM}
        sets.append(SetConfig(**config))
    return sets


def _config(one: DataSet, *, head: str) -> SetConfig:
    """A set as the config would name it."""
    given = {key: value for key, value in asdict(one).items() if value is not None}
    return SetConfig(**{**given, "head": head})


def _is_labelled(store: FrameStore) -> bool:
    """Whether all frames have an energy and forces."""
    presence = store.label_presence
    return bool(presence["energy"].all() and presence["forces"].all())


def _write_labels(
    path: Path, one: DataSet, *, parent: MACE, is_asked: bool, progress: Progress | None
) -> None:
    """Let the parent label the structures of a set, if it has not done so before."""
    structures = read_structures(one.path, r_max=parent.r_max)
    digest = hashlib.sha256(json.dumps(parent.hyperparameters, sort_keys=True).encode())
    for tensor in parent.state_dict().values():
        digest.update(tensor.cpu().numpy().tobytes())
    for atoms in structures:
        for values in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc):
            digest.update(values.tobytes())
    note = path.with_suffix(".json")
    record = json.dumps({"sha256": digest.hexdigest()}) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(path.parent / "lock"):
        if path.is_file() and note.is_file() and note.read_text() == record:
            return
        note.unlink(missing_ok=True)
        count = write_parent_labels(path, structures, parent, progress=progress)
        write_whole(note, record)
    why = "finetune.replay_labels=parent" if is_asked else "not all have energy and forces"
    logger.info("replay: the parent labels %d frames of %s (%s)", count, one.name, why)
