"""Our model file: weights, architecture and provenance in one safetensors file.

`save_model` writes it; `load_model` reads it, and official mace-torch files and training
checkpoints too. Nothing in it is pickled: tensors, and JSON in the header. The format has
an integer version, and a checksum over everything that predictions depend on.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from mace_train.checkpoints.inert_pickle import UnsafeFileError
from mace_train.checkpoints.mace_torch import load_official, read_official_metadata
from mace_train.checkpoints.probes import Deviations, Probes, compare_with_probes
from mace_train.checkpoints.training_checkpoint import (
    is_training_checkpoint,
    load_training_model,
    read_training_checkpoint,
)
from mace_train.model.backends import Backend
from mace_train.model.mace import MACE
from mace_train.model.rebuild import rebuild_model

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT_VERSION = 1
_KINDS = (
    "a model file of mace-train (.safetensors), an official mace-torch model (.model) or a "
    "training checkpoint of mace-train (.ckpt)"
)
_HEADER = {"mace_train_format", "hyperparameters", "metadata", "sha256"}
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


class ModelFileError(ValueError):
    """A file that cannot be read as a model; the message names it and says what it is."""


def save_model(
    path: str | Path,
    model: MACE,
    *,
    metadata: dict[str, Any],
    probes: Probes | None = None,
) -> None:
    """Write a model file, all of it or nothing.

    Args:
        path: Usually ``model.safetensors``. An existing file is replaced in one step.
        model: Its weights and arguments are written in its own dtype.
        metadata: Plain values that tell where the model comes from: units, statistics,
            configuration, versions, commit, checksums of the data.
        probes: Frames with the model's predictions for them.

    Raises:
        TypeError: If ``metadata`` holds something that JSON cannot.
    """
    path = Path(path)
    state = model.state_dict()
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    if probes is not None:
        tensors |= probes.to_tensors()
    header = {
        "mace_train_format": str(FORMAT_VERSION),
        "hyperparameters": json.dumps(model.hyperparameters),
        "metadata": json.dumps(metadata, default=_plain),
    }
    header["sha256"] = _checksum(header, tensors)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(to_safetensors(tensors, header))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_model(
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    backend: Backend = "auto",
) -> MACE:
    """Read a model, whatever wrote it; what a file is, is told from its content.

    Args:
        path: Our model file, an official mace-torch ``.model`` file (read without executing
            anything in it) or a training checkpoint (its averaged weights).
        device: Where the model shall live.
        dtype: "float32" or "float64"; that of the file if None.
        backend: Implementation of the costly operations, see `model.backends`.

    Returns:
        The model in evaluation mode.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeFileError: If the file asks for more than reading a model needs.
        ModelFileError: If it is damaged, something else, or a model that we do not compute.
    """
    path = Path(path)
    wanted = floating_dtype(dtype)
    with _errors_naming(path):
        kind = _kind(path)
        if kind == "archive" and is_training_checkpoint(path):
            model = load_training_model(path, dtype=wanted)
        elif kind == "archive":
            model = load_official(path, dtype=wanted)
        else:
            model = _read_model_file(path, dtype=wanted)[0]
    model.backend = backend
    return model.to(device)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata that a model file or training checkpoint was written with.

    An official file has some if mace-export wrote it.

    Raises:
        FileNotFoundError: If there is no such file.
        ModelFileError: If it is damaged or something else.
    """
    path = Path(path)
    with _errors_naming(path):
        if _kind(path) == "archive":
            if not is_training_checkpoint(path):
                return read_official_metadata(path)
            return read_training_checkpoint(path).get("metadata", {})
        return json.loads(_read_header(path)["metadata"])


def check_probes(path: str | Path) -> Deviations | None:
    """Predict a model file's probe frames on this machine and compare with what it says.

    Returns:
        The largest deviations; None if the file carries no probe frames.

    Raises:
        FileNotFoundError: If there is no such file.
        ModelFileError: If it is damaged or not a model file of mace-train.
    """
    path = Path(path)
    with _errors_naming(path):
        if _kind(path) == "archive":
            raise ValueError(
                "only a model file of mace-train (.safetensors) has probe frames"
            )
        model, probes = _read_model_file(path)
    return None if probes is None else compare_with_probes(model, probes)


def read_probes(path: str | Path) -> Probes | None:
    """The probe frames of a model file; None if it is of another kind or carries none.

    Raises:
        FileNotFoundError: If there is no such file.
        ModelFileError: If it is damaged or something else.
    """
    path = Path(path)
    with _errors_naming(path):
        return None if _kind(path) == "archive" else _read_model_file(path)[1]


def floating_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """Read "float32" or "float64"; None stays None.

    Raises:
        ValueError: If it is another type.
    """
    names = {"float32": torch.float32, "float64": torch.float64}
    found = names.get(dtype, dtype) if isinstance(dtype, str) else dtype
    if found not in (None, *names.values()):
        raise ValueError(f"dtype={dtype} is not supported: use float32 or float64")
    return found


@contextmanager
def _errors_naming(path: Path) -> Iterator[None]:
    try:
        yield
    except UnsafeFileError as error:
        raise UnsafeFileError(f"refusing to read {path}: {error}") from error
    except ValueError as error:
        raise ModelFileError(f"cannot read {path}: {error}") from error


def _kind(path: Path) -> Literal["archive", "safetensors"]:
    """What a file is, from its first bytes."""
    if path.is_dir():
        raise ValueError("it is a folder; the model of a run is model.safetensors in it")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"PK\x03\x04"):
        return "archive"
    if start[8:9] == b"{":
        return "safetensors"
    if start.startswith(_OLD_TORCH):
        raise ValueError(
            "it is a torch.save file in the format of before torch 1.6: load it with the "
            "mace-torch that wrote it and save it again"
        )
    what = (
        "it is empty" if not start else f"it is not {_KINDS} (it begins with {start[:8]!r})"
    )
    raise ValueError(what)


def _read_model_file(
    path: Path, *, dtype: torch.dtype | None = None
) -> tuple[MACE, Probes | None]:
    header = _read_header(path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if _checksum(header, tensors) != header["sha256"]:
        raise ValueError("it is damaged: its content does not match its checksum")
    probes, state = Probes.from_tensors(tensors)
    return rebuild_model(json.loads(header["hyperparameters"]), state, dtype=dtype), probes


def _read_header(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"it is truncated or damaged ({error})") from error
    missing = _HEADER - header.keys()
    if missing:
        raise ValueError(
            "it is a safetensors file, but not a model of mace-train: its header lacks "
            + ", ".join(sorted(missing))
        )
    if header["mace_train_format"] != str(FORMAT_VERSION):
        raise ValueError(
            f"it has format {header['mace_train_format']!r}, and this version of "
            f"mace-train reads format {FORMAT_VERSION}: update mace-train"
        )
    return header


def _checksum(header: dict[str, str], tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for key in sorted(_HEADER - {"sha256"}):
        digest.update(f"{key}={header[key]};".encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """What JSON does not know, as plain values: numpy numbers and arrays, paths."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"metadata holds {value!r} of type {type(value).__name__}")
