"""Read a checkpoint to go on from, and refuse one that does not fit, with the reason.

Floor 3. A checkpoint that cannot be gone on with is an error, never a fresh start: a fresh
start would overwrite it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mace_train.checkpoints.training_checkpoint import read_training_checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

MOST_DIFFERENCES = 5
"""Differences that a message names."""

_ADVICE = (
    "To begin anew, give the run another name=..., or set resume=never, which overwrites "
    "the checkpoints in its folder."
)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `MACEModule` put into a checkpoint; nothing in the file is executed.

    Raises:
        ValueError: If there is no such file, it is unfinished or damaged, or not one of
            ours.
    """
    if not path.is_file():
        raise ValueError(
            f"there is no checkpoint {path}: look at the path given with resume="
        )
    try:
        return read_training_checkpoint(path)
    except ValueError as error:
        raise ValueError(
            f"cannot go on from {path} ({path.stat().st_size} bytes): {error}. "
            f"Another checkpoint may lie beside it (resume=PATH). {_ADVICE}"
        ) from error


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
        f"{name} is {_shown(saved.get(name))} in the checkpoint and "
        f"{_shown(current.get(name))} now"
        for name in names
        if _differ(saved.get(name), current.get(name))
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
        elif old.dtype != new.dtype:
            found.append(f"{name} is {old.dtype} in the checkpoint and {new.dtype} now")
    _refuse(found, path)


def _refuse(differences: list[str], path: object) -> None:
    if not differences:
        return
    more = len(differences) - MOST_DIFFERENCES
    shown = "; ".join(differences[:MOST_DIFFERENCES]) + (
        f"; and {more} more" if more > 0 else ""
    )
    raise ValueError(
        f"{path} belongs to another model: {shown}. "
        f"Restore the old settings and data to go on. {_ADVICE}"
    )


def _differ(one: Any, other: Any) -> bool:
    """Whether two arguments differ by more than the rounding of a repeated computation."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) != len(other) or any(_differ(a, b) for a, b in zip(one, other))
    if isinstance(one, float) or isinstance(other, float):
        if not isinstance(one, (int, float)) or not isinstance(other, (int, float)):
            return True
        return not math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)
    return one != other


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
