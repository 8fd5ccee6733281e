"""Predictions as a file for people: extended XYZ or Parquet, in the order of the input.

Floor 4. Values are named ``predicted_energy``, ``reference_energy`` and so on, in eV and Å,
with the ``source`` file and the ``source_index`` of each frame in it; what a frame lacks is
left out, or null in a table. Files are written part by part, in constant memory.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ase import Atoms
from ase.io.extxyz import write_xyz

from mace_train.training.predictions import FramePrediction, reference_values
from mace_train.training.whole_file import finish_file, partial_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import pyarrow

    from mace_train.data.frame import Frame
    from mace_train.training.stored_predictions import PredictedFrame

PredictionFormat = Literal["extxyz", "parquet", "none"]
"""Values of ``predictions``."""

SUFFIXES: dict[PredictionFormat, str] = {"extxyz": ".extxyz", "parquet": ".parquet"}

_LABELS = ("energy", "forces", "stress")
COMMITTEE_EXTRAS = ("energy_std", "forces_std", "stress_std")
"""What a committee of models says besides."""

_PER_ATOM = ("forces", "node_energies", "forces_std")


def write_extxyz(path: Path, parts: Iterable[Iterable[PredictedFrame]]) -> None:
    """Write structures with reference and predicted values as extended XYZ.

    Args:
        path: File to write; an older one is replaced when the new one is complete.
        parts: Frames with their predictions.
    """
    partial = partial_name(path)
    with partial.open("w", encoding="utf-8") as file:
        for part in parts:
            for frame, prediction in part:
                write_xyz(file, _annotated(frame, prediction), write_results=False)
    finish_file(partial, path)


def write_parquet(
    path: Path,
    parts: Iterable[Iterable[PredictedFrame]],
    *,
    group_keys: Sequence[str] = (),
    extras: Sequence[str] = (),
) -> None:
    """Write reference and predicted values as a Parquet table, a row for each frame.

    Forces are lists of three numbers for each atom, in the frame's order of atoms;
    stresses have nine numbers. docs/evaluate.md lists all columns.

    Args:
        path: File to write; an older one is replaced when the new one is complete.
        parts: Frames with their predictions; each part becomes a row group.
        group_keys: Names of the frames' groups, such as ``mp_id``, a column each.
        extras: Further predictions that have a column, such as ``node_energies``.
    """
    import pyarrow as pa
    from pyarrow import parquet

    columns = _columns(extras)
    names = [f"group_{key}" if key in columns else key for key in group_keys]
    schema = pa.schema([*columns.items(), *((name, pa.string()) for name in names)])
    partial = partial_name(path)
    with parquet.ParquetWriter(partial, schema, compression="zstd") as writer:
        for part in parts:
            rows = [
                _row(frame, prediction)
                | {n: frame.groups.get(key) for n, key in zip(names, group_keys)}
                for frame, prediction in part
            ]
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema))
    finish_file(partial, path)


def _annotated(frame: Frame, prediction: FramePrediction) -> Atoms:
    """The structure with all that is known of it."""
    atoms = Atoms(
        numbers=frame.atomic_numbers,
        positions=frame.positions,
        cell=frame.cell,
        pbc=frame.pbc,
    )
    atoms.info.update(frame.groups)
    if frame.config_type is not None:
        atoms.info["config_type"] = frame.config_type
    atoms.info |= {"source": frame.source, "source_index": frame.index}
    for name, value in _values(frame, prediction).items():
        if value is None:
            continue
        if name.partition("_")[2] in _PER_ATOM:
            atoms.arrays[name] = value
        else:
            atoms.info[name] = np.ravel(value) if np.ndim(value) else value
    return atoms


def _values(frame: Frame, prediction: FramePrediction) -> dict[str, Any]:
    """Reference and predicted values by their names in a file."""
    references = reference_values(frame)
    predicted = {field.name: getattr(prediction, field.name) for field in _FIELDS}
    return {f"reference_{name}": references[name] for name in _LABELS} | {
        f"predicted_{name}": value for name, value in predicted.items()
    }


_FIELDS = fields(FramePrediction)


def _row(frame: Frame, prediction: FramePrediction) -> dict[str, Any]:
    """A row of the table."""
    values = {
        name: (value.reshape(9) if value.shape == (3, 3) and "stress" in name else value)
        .astype(np.float64)
        .tolist()
        if isinstance(value, np.ndarray)
        else value
        for name, value in _values(frame, prediction).items()
    }
    return {
        "source": frame.source,
        "source_index": frame.index,
        "config_type": frame.config_type,
        "formula": frame.formula,
        "num_atoms": frame.num_atoms,
        "atomic_numbers": frame.atomic_numbers.tolist(),
    } | values


def _columns(extras: Sequence[str]) -> dict[str, pyarrow.DataType]:
    """Types of the columns, those of groups aside."""
    import pyarrow as pa

    number = pa.float64()
    types = {
        "energy": number,
        "forces": pa.list_(pa.list_(number, 3)),
        "stress": pa.list_(number, 9),
        "node_energies": pa.list_(number),
    }
    columns = {
        "source": pa.string(),
        "source_index": pa.int64(),
        "config_type": pa.string(),
        "formula": pa.string(),
        "num_atoms": pa.int32(),
        "atomic_numbers": pa.list_(pa.int16()),
    }
    names = [*_LABELS, *extras]
    columns |= {f"predicted_{name}": types[name.removesuffix("_std")] for name in names}
    return columns | {f"reference_{name}": types[name] for name in _LABELS}
