"""Read a checkpoint to go on from, and refuse one that does not fit, with the reason.

Floor 4. A checkpoint that cannot be gone on with is an error, never a fresh start: a fresh
start would set it aside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mace_train.checkpoints.training_checkpoint import read_training_checkpoint
from mace_train.training.checkpoint_folder import ADVICE, CheckpointFolder
from mace_train.training.differences import differ, joined, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `MACEModule` put into a checkpoint; nothing in the file is executed.

    Raises:
        ValueError: If there is no such file, it is unfinished or damaged, or not one of
            ours; the message names whole ones beside it.
    """
    if not path.is_file():
        raise ValueError(
            f"there is no checkpoint {path}: look at the path given with resume="
            + _beside(path)
        )
    try:
        return read_training_checkpoint(path)
    except ValueError as error:
        raise ValueError(
            f"cannot go on from {path} ({path.stat().st_size} bytes): {error}."
            f"{_beside(path)} {ADVICE}"
        ) from error


def _beside(path: Path) -> str:
    """Which whole checkpoints lie in the folder of one that cannot be read."""
    whole = CheckpointFolder(path.parent).whole_ones(but=path)
    if not whole:
        return ""
    return f" Whole ones lie beside it: {', '.join(map(str, whole))}."


def require_same_architecture(
    saved: Mapping[str, Any], current: Mapping[str, Any], *, path: object = "the checkpoint"
) -> None:
    """Refuse a checkpoint whose model was built with other arguments.

    Args:
        saved: Constructor arguments of the checkpoint's model.
        current: Those of the model to be trained.
        path: How to call the checkpoint.

    Raises:
        ValueError: If they differ; the message names the arguments and both values.
    """
    names = [*current, *(name for name in saved if name not in current)]
    found = [
        f"{name} is {shown(saved.get(name))} in the checkpoint and "
        f"{shown(current.get(name))} now"
        for name in names
        if differ(saved.get(name), current.get(name))
    ]
    _refuse(found, path)


def require_same_weights(
    saved: Mapping[str, Tensor],
    current: Mapping[str, Tensor],
    *,
    path: object = "the checkpoint",
) -> None:
    """Refuse a checkpoint whose tensors have other names, shapes or types.

    Raises:
        ValueError: If they differ; the message names the tensors.
    """
    found = [
        f"{name} is missing in the checkpoint" for name in current if name not in saved
    ]
    found += [f"{name} is only in the checkpoint" for name in saved if name not in current]
    for name in current:
        if name not in saved:
            continue
        old, new = saved[name], current[name]
        if old.shape != new.shape:
            found.append(
                f"{name} has shape {tuple(old.shape)} in the checkpoint and "
                f"{tuple(new.shape)} now"
            )
        # E0s are in float64 today, and were in the weights' dtype.
        elif old.dtype != new.dtype and not name.endswith(".atomic_energies"):
            found.append(f"{name} is {old.dtype} in the checkpoint and {new.dtype} now")
    _refuse(found, path)


def _refuse(differences: list[str], path: object) -> None:
    if differences:
        raise ValueError(
            f"{path} belongs to another model: {joined(differences)}. "
            f"Restore the old settings and data to go on. {ADVICE}"
        )
