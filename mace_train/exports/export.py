"""Write a model for other programs: the file is kept only if it predicts the same.

Floor 3. The file is written under another name beside its place, read back the way its
users read it, and compared; then it gets its name, and a JSON file beside it tells where it
comes from.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mace_train.checkpoints.probes import Probes
from mace_train.exports.comparison import (
    Comparison,
    compare,
    comparison_graphs,
    predict_model,
)
from mace_train.exports.export_format import ExportFormat
from mace_train.model.mace import MACE


def export_model(
    model: MACE,
    path: Path,
    form: ExportFormat,
    *,
    metadata: dict[str, Any],
    probes: Probes | None = None,
) -> Comparison:
    """Write a model in another form, compare it with the model, and keep it if it agrees.

    An existing file is replaced in one step, and only by a file that agrees.

    Args:
        model: On the CPU; written in its own dtype.
        path: Of the file; ``path`` with ``.json`` behind it gets metadata and comparison.
        form: One of `formats.FORMATS`.
        metadata: Plain values that tell where the model comes from.
        probes: Frames to compare on besides made ones.

    Raises:
        ImportError: If a package is missing that this form of file needs.
        ValueError: If this form cannot hold the model, the folder cannot be written to, or
            the written file predicts something else; there is no file then.
    """
    form.require()
    if len(model.heads) > 1 and not form.takes_several_heads:
        raise ValueError(
            f"format={form.name} holds one head, and the model has several: choose one of "
            + " | ".join(model.heads)
        )
    # Some readers look at the end of a name, so it stays.
    partial = path.with_name(f".{os.getpid()}.partial.{path.name}")
    _require_writable(partial)
    try:
        form.write(partial, model, metadata)
        comparison = _compared(model, partial, form, probes)
        if comparison.problems:
            raise ValueError(
                f"the export is not done: {'; '.join(comparison.problems)}. "
                f"{path} was not written\n{comparison.table()}"
            )
        _bring_to_disk(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    record = {**metadata, "comparison": comparison_record(comparison)}
    _write_text(metadata_path(path), json.dumps(record, indent=1, ensure_ascii=False))
    return comparison


def metadata_path(path: Path) -> Path:
    """The JSON file beside an exported file."""
    return path.with_name(f"{path.name}.json")


def comparison_record(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain values."""
    return {
        "num_frames": comparison.num_frames,
        "num_elements": comparison.num_elements,
        "deviation": comparison.deviation,
        "allowed": comparison.allowed,
        "units": {"energy": "eV", "forces": "eV/angstrom", "stress": "eV/angstrom^3"},
    }


def _compared(
    model: MACE, path: Path, form: ExportFormat, probes: Probes | None
) -> Comparison:
    graphs = comparison_graphs(model, probes)
    is_float64 = next(model.parameters()).dtype == torch.float64
    expected = predict_model(model, graphs)
    for prediction in expected:
        if not (np.isfinite(prediction.energy) and np.isfinite(prediction.forces).all()):
            raise ValueError(
                "the model itself predicts NaN or infinite numbers, so nothing can be "
                "compared and nothing was written: its training has diverged"
            )
    return compare(
        graphs,
        expected,
        form.predict(path, graphs),
        tolerance=form.float64_tolerance if is_float64 else form.float32_tolerance,
    )


def _require_writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise ValueError(f"cannot write into {path.parent}: {error.strerror}") from error


def _write_text(path: Path, text: str) -> None:
    partial = path.with_name(f".{os.getpid()}.partial.{path.name}")
    try:
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _bring_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
