"""From files of extended XYZ to checked `Frame`s, one at a time, in constant memory.

The whole way of a frame into mace-train: text (`extxyz`), labels and units
(`label_reader`), checks (`plausibility`), and the count of all this (`census`).
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mace_train.data.census import Census
from mace_train.data.extxyz import (
    UNPACKING_ERRORS,
    BrokenFileError,
    open_at,
    read_raw_frames,
)
from mace_train.data.frame import Frame, formula_of, volume_of
from mace_train.data.label_reader import LabelReader
from mace_train.data.labels import LabelKeys
from mace_train.data.plain_frame import RawFrame
from mace_train.data.plausibility import (
    check_geometry,
    check_labels,
    exceeds,
    is_isolated_atom,
)
from mace_train.data.problems import FrameError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GROUP_KEYS", "Frame", "LabelKeys", "read_frames"]

GROUP_KEYS = ("mp_id", "material_id")
"""Names that ``data.group_key=auto`` knows: MACE's archive of MPtrj, and
matbench-discovery's."""


def read_frames(
    path: Path,
    *,
    keys: LabelKeys,
    group_key: str = "auto",
    max_force: float | None = None,
    start: int = 0,
    stop: int | None = None,
    offset: int = 0,
    line: int = 1,
    census: Census | None = None,
) -> Iterator[Frame]:
    """Read, translate and check the frames of a file, in their order.

    Args:
        path: Extended XYZ, plain or packed (``.gz``, ``.xz``).
        keys: Names and units of the labels.
        group_key: Name of the value that frames of one group share; ``auto`` for
            `GROUP_KEYS`.
        max_force: Frames with a larger force (eV/Å) are left out and counted; None to
            refuse only absurd ones.
        start: First frame, counted from 0.
        stop: Where to stop before; None for the end of the file.
        offset: Byte of the (unpacked) file at which frame ``start`` begins, if known; else
            the frames before it are passed over.
        line: The line of the file that is at ``offset``.
        census: Counts what is read, and collects what is wrong: the caller then ends with
            ``census.raise_problems()`` once all files are read. Without one, this function
            raises by itself after the last frame.

    Yields:
        Frames in eV and Å, all of them sound.

    Raises:
        ValueError: If ``census`` is None and any frame cannot be used or units look wrong,
            or once there are very many such frames; the message says which, where, and the
            cure.
    """
    own = Census() if census is None else census
    own.expect(keys, max_force=max_force)
    reader = _FrameReader(path, keys, group_key=group_key, max_force=max_force, census=own)
    yield from reader.read(start=start, stop=stop, offset=offset, line=line)
    if census is None:
        own.raise_problems()


class _FrameReader:
    """Turns the raw frames of one file into checked ones."""

    def __init__(
        self,
        path: Path,
        keys: LabelKeys,
        *,
        group_key: str,
        max_force: float | None,
        census: Census,
    ) -> None:
        self._path = path
        self._census = census
        self._max_force = max_force
        self._labels = LabelReader(keys, census.keys)
        self._group_keys = GROUP_KEYS
        if group_key not in ("auto", *GROUP_KEYS):
            self._group_keys = (*GROUP_KEYS, group_key)

    def read(
        self, *, start: int, stop: int | None, offset: int, line: int
    ) -> Iterator[Frame]:
        """The frames from ``start`` on; see `read_frames`."""
        wanted = {*self._labels.wanted, *self._group_keys, "config_type"}
        index = start - 1
        with open_at(self._path, offset=offset) as file:
            raws = read_raw_frames(
                file,
                wanted=wanted,
                first=start if offset else 0,
                line_number=line,
                start=start,
            )
            try:
                for raw in islice(raws, None if stop is None else stop - start):
                    if isinstance(raw, RawFrame):
                        index = raw.index
                        self._census.names.update(raw.names)
                        frame = self._checked(raw)
                        if frame is not None:
                            yield frame
                    else:
                        text, problem = raw
                        index = text.number
                        self._census.refuse(problem, place=self._place(index))
            except BrokenFileError as problem:
                self._census.refuse(problem, place=self._place(index + 1))
            except UNPACKING_ERRORS as error:
                problem = FrameError(
                    "and all that follow cannot be unpacked",
                    cure="The file is damaged: copy it again.",
                    detail=str(error),
                )
                self._census.refuse(problem, place=self._place(index + 1))

    def _place(self, index: int, atomic_numbers: np.ndarray | None = None) -> str:
        formula = "" if atomic_numbers is None else f", {formula_of(atomic_numbers)}"
        return f"{self._path}, frame {index}{formula}"

    def _checked(self, raw: RawFrame) -> Frame | None:
        """The frame, or None where it is left out or refused, which is counted."""
        try:
            frame = self._frame(raw)
            check_labels(frame, max_force=self._max_force)
        except FrameError as problem:
            self._census.refuse(problem, place=self._place(raw.index, raw.atomic_numbers))
            return None
        if (
            self._max_force is not None
            and frame.forces is not None
            and exceeds(frame.forces, self._max_force)
        ):
            self._census.left_out["max_force"] += 1
            return None
        self._census.add(frame)
        return frame

    def _frame(self, raw: RawFrame) -> Frame:
        """Translate a raw frame.

        Raises:
            FrameError: If its structure or its labels make no sense.
        """
        positions, cell = raw.positions, raw.cell
        if self._labels.length_factor != 1:
            positions = positions * self._labels.length_factor
            cell = cell * self._labels.length_factor
        check_geometry(raw.atomic_numbers, positions, cell=cell, pbc=raw.pbc)
        volume = volume_of(cell) if all(raw.pbc.tolist()) else 0.0
        labels = self._labels.read(raw, volume=volume)
        config_type = _text(raw, "config_type")
        groups = {key: _text(raw, key) for key in self._group_keys}
        return Frame(
            atomic_numbers=raw.atomic_numbers,
            positions=positions,
            cell=cell,
            pbc=raw.pbc,
            energy=labels.energy,
            forces=labels.forces,
            stress=labels.stress,
            energy_weight=labels.energy_weight,
            forces_weight=labels.forces_weight,
            stress_weight=labels.stress_weight,
            frame_weight=labels.frame_weight,
            groups={key: value for key, value in groups.items() if value is not None},
            config_type=config_type,
            is_isolated_atom=is_isolated_atom(
                raw.atomic_numbers, cell=cell, pbc=raw.pbc, config_type=config_type
            ),
            source=str(self._path),
            index=raw.index,
        )


def _text(raw: RawFrame, key: str) -> str | None:
    """A value as text, None where the frame has none."""
    value = raw.values.get(key)
    return None if value is None else str(value)
