"""From files of frames to checked `Frame`s, one at a time, in constant memory.

The whole way of a frame into mace-train: its file's form (`frame_formats`), labels and
units (`label_reader`), checks (`plausibility`), and the count of all this (`census`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mace_train.data.census import Census
from mace_train.data.frame import Frame, formula_of, volume_of
from mace_train.data.frame_formats import FRAME_FORMATS
from mace_train.data.frame_source import BrokenFileError, FrameFile, Span
from mace_train.data.label_reader import LabelReader
from mace_train.data.labels import GROUP_KEYS, LabelKeys
from mace_train.data.plain_frame import RawFrame
from mace_train.data.plausibility import (
    check_geometry,
    check_labels,
    exceeds,
    is_isolated_atom,
)
from mace_train.data.problems import FrameError, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Frame", "LabelKeys", "read_frames"]


def read_frames(
    file: Path | FrameFile,
    *,
    keys: LabelKeys,
    group_key: str = "auto",
    max_force: float | None = None,
    span: Span | None = None,
    census: Census | None = None,
) -> Iterator[Frame]:
    """Read, translate and check the frames of a file, in their order.

    Args:
        file: A file of frames; a path is that of extended XYZ, plain or packed.
        keys: Names and units of the labels.
        group_key: Name of the value that frames of one group share; ``auto`` for
            `GROUP_KEYS`.
        max_force: Frames with a larger force (eV/Å) are left out and counted; None to
            refuse only absurd ones.
        span: Between which marks of the file; None for all of it.
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
    source = FrameFile(file) if isinstance(file, Path) else file
    reader = _FrameReader(
        source, keys, group_key=group_key, max_force=max_force, census=own
    )
    yield from reader.read(span or Span())
    if census is None:
        own.raise_problems()


class _FrameReader:
    """Turns the raw frames of one file into checked ones."""

    def __init__(
        self,
        file: FrameFile,
        keys: LabelKeys,
        *,
        group_key: str,
        max_force: float | None,
        census: Census,
    ) -> None:
        self._file = file
        self._name = str(file)
        self._census = census
        self._max_force = max_force
        self._labels = LabelReader(keys, census.keys)
        self._checks_labels = keys.are_checked
        self._group_keys = GROUP_KEYS
        if group_key not in ("auto", *GROUP_KEYS):
            self._group_keys = (*GROUP_KEYS, group_key)

    def read(self, span: Span) -> Iterator[Frame]:
        """The frames of a span; see `read_frames`."""
        wanted = {*self._labels.wanted, *self._group_keys, "config_type"}
        index = span.start.frame - 1
        try:
            for raw in FRAME_FORMATS[self._file.form].read(self._file, span, wanted=wanted):
                if isinstance(raw, RawFrame):
                    index = raw.index
                    self._census.names.update(raw.names)
                    self._census.keys.offer(
                        offer for offer in raw.offers if offer[1] not in wanted
                    )
                    frame = self._checked(raw)
                    if frame is not None:
                        yield frame
                else:
                    index, problem = raw
                    self._census.refuse(problem, place=Place(self._name, index))
        except BrokenFileError as problem:
            self._census.refuse(problem, place=Place(self._name, index + 1))

    def _checked(self, raw: RawFrame) -> Frame | None:
        """The frame, or None where it is left out or refused, which is counted."""
        try:
            frame = self._frame(raw)
            if self._checks_labels:
                check_labels(frame, max_force=self._max_force)
        except FrameError as problem:
            place = Place(self._name, raw.index, formula_of(raw.atomic_numbers))
            self._census.refuse(problem, place=place)
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
            source=self._name,
            index=raw.index,
        )


def _text(raw: RawFrame, key: str) -> str | None:
    """A value as text, None where the frame has none."""
    value = raw.values.get(key)
    return None if value is None else str(value)
