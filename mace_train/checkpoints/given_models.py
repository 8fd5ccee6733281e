"""Which models a user means: a file, a pattern, a model in memory, or a list of these.

Floor 2, for the calculator.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch

from mace_train.checkpoints.model_file import floating_dtype, load_model
from mace_train.model.backends import Backend, chosen_backend
from mace_train.model.mace import MACE

Model = str | Path | MACE


def given_models(
    model: Model | Sequence[Model],
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    backend: Backend | None = None,
) -> tuple[list[MACE], list[str]]:
    """The models, ready to predict, and what to call them in messages.

    Args:
        model: A path, a pattern of paths, a model, or a list of these. A model that is
            given is used as it is, or a copy of it where it would have to be changed.
        device: Where to compute; None: the CPU, or where a given model is.
        dtype: "float32" or "float64"; None: that of the file or the model.
        backend: See `model.backends`; None: ``auto``, or that of a given model.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If ``model`` is something else.
        ValueError: If a file is not a model, or device, dtype or backend cannot be used.
    """
    members = _members(model)
    wanted, place = floating_dtype(dtype), _device(device)
    models = [_ready(one, place, wanted, backend) for one in members]
    names = ["the model" if isinstance(one, MACE) else str(one) for one in members]
    return models, names


def _members(model: Model | Sequence[Model]) -> Sequence[Model]:
    """The models that are meant by one, a list of them, or a pattern of file names."""
    if isinstance(model, MACE | Path):
        return [model]
    if isinstance(model, list | tuple):
        return [one for part in model for one in _members(part)]
    if not isinstance(model, str):
        raise TypeError(
            f"model={model!r} is a {type(model).__name__}: give the path of a model file, "
            "a pattern of paths, a MACE of mace_train, or a list of these"
        )
    if not glob.has_magic(model) or Path(model).exists():
        return [model]
    found = sorted(glob.glob(model, recursive=True))  # noqa: PTH207 - also absolute patterns
    if not found:
        raise FileNotFoundError(f"no file matches model={model!r}")
    return found


def _device(name: str | torch.device | None) -> torch.device | None:
    if name is None:
        return None
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device={str(name)!r} cannot be used here: {reason}") from error


def _ready(
    model: Model,
    device: torch.device | None,
    dtype: torch.dtype | None,
    backend: Backend | None,
) -> MACE:
    """A model of a file, or the given one, copied if it has to be another."""
    if not isinstance(model, MACE):
        read = load_model(
            model, device=device or "cpu", dtype=dtype, backend=backend or "auto"
        ).requires_grad_(False)
        chosen_backend(read.backend, next(read.parameters()).device)
        return read
    has = next(model.parameters())
    wanted = (device or has.device, dtype or has.dtype, backend or model.backend)
    chosen_backend(wanted[2], wanted[0])
    if wanted == (has.device, has.dtype, model.backend):
        return model
    other = deepcopy(model).to(device=wanted[0], dtype=wanted[1])
    other.backend = wanted[2]
    return other
