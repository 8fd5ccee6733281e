"""Read the model out of a training checkpoint, with nothing of the trainer.

A ``.ckpt`` of a run holds, besides what resuming needs, the entry ``mace_train``: format
version, the model's arguments, metadata and the averaged (EMA) weights; the raw ones stand
in ``state_dict`` under the prefix ``model.``. It is read with ``weights_only=True``, after
every byte was held against the checksums in the file.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mace_train.checkpoints.inert_pickle import UnsafeFileError
from mace_train.checkpoints.torch_archive import TorchArchive
from mace_train.model.mace import MACE
from mace_train.model.rebuild import rebuild_model

if TYPE_CHECKING:
    from pathlib import Path

CHECKPOINT_KEY = "mace_train"
FORMAT_VERSION = 1
_PREFIX = "model."
# As a string of its own, which a longer text that names the package does not hold.
_PICKLED_KEY = b"X" + len(CHECKPOINT_KEY).to_bytes(4, "little") + CHECKPOINT_KEY.encode()


class NewerFormatError(ValueError):
    """A checkpoint is whole, but this version of mace-train is too old for it."""


def is_training_checkpoint(path: Path) -> bool:
    """Whether an archive of ``torch.save`` is a checkpoint of mace-train.

    Raises:
        ValueError: If it is no such archive, or a damaged one.
    """
    with TorchArchive(path) as archive:
        return _PICKLED_KEY in archive.pickle


def read_training_checkpoint(path: Path) -> dict[str, Any]:
    """The ``mace_train`` entry of a checkpoint, with the raw weights as ``model_state``.

    Optimizer steps that the run had done are added as ``step``.

    Raises:
        UnsafeFileError: If the file holds anything but plain data and tensors.
        NewerFormatError: If it is of a newer format.
        ValueError: If it is damaged or not a checkpoint of mace-train.
    """
    try:
        with TorchArchive(path) as archive:
            archive.require_whole()
    except UnsafeFileError:
        raise
    except (ValueError, OSError) as error:
        raise ValueError(f"it is damaged: {error}") from error
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()
        named = [line.strip() for line in reason if "GLOBAL" in line or "global" in line]
        raise UnsafeFileError(
            "it holds more than plain data and tensors. Nothing was executed. "
            + (named[0] if named else reason[0])
        ) from error
    except (RuntimeError, EOFError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"it is damaged: {reason[0]}") from error
    entry = _entry(checkpoint)
    state = checkpoint.get("state_dict", {})
    raw = {
        name.removeprefix(_PREFIX): state[name]
        for name in state
        if name.startswith(_PREFIX)
    }
    return {**entry, "step": checkpoint.get("global_step", 0), "model_state": raw}


def read_progress(path: Path) -> tuple[int, int]:
    """Optimizer steps and whole epochs that the run of a checkpoint had done.

    Only the description of the file's contents is read, not its tensors: a later one
    compares as greater.

    Raises:
        NewerFormatError: If it is of a newer format.
        ValueError: If that part is damaged, or it is not a checkpoint of mace-train.
    """
    with TorchArchive(path) as archive:
        checkpoint = archive.load(is_allowed=lambda _: False)
    entry = _entry(checkpoint)
    return int(checkpoint.get("global_step", 0)), int(entry.get("num_epochs", 0))


def _entry(checkpoint: Any) -> dict[str, Any]:
    """What is ours in a checkpoint.

    Raises:
        NewerFormatError: If it is of a newer format.
        ValueError: If nothing is ours.
    """
    entry = checkpoint.get(CHECKPOINT_KEY) if isinstance(checkpoint, dict) else None
    if not isinstance(entry, dict) or "hyperparameters" not in entry:
        raise ValueError("it is not a training checkpoint of mace-train")
    if entry.get("format") != FORMAT_VERSION:
        raise NewerFormatError(
            f"it is a checkpoint of format {entry.get('format')!r}, and this version of "
            f"mace-train reads format {FORMAT_VERSION}: update mace-train"
        )
    return entry


def load_training_model(path: Path, *, dtype: torch.dtype | None = None) -> MACE:
    """The model of a training checkpoint, with the averaged weights where there are any.

    Args:
        path: A ``.ckpt`` of a run.
        dtype: That of the weights if None.

    Raises:
        UnsafeFileError: If the file holds anything but plain data and tensors.
        ValueError: If it is damaged, not a checkpoint of mace-train, or its weights do not
            fit its architecture.
    """
    entry = read_training_checkpoint(path)
    averaged: dict[str, Tensor] | None = entry.get("ema_model_state")
    state = averaged or entry["model_state"]
    return rebuild_model(entry["hyperparameters"], state, dtype=dtype)
