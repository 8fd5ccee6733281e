"""MPtrj's original JSON, and others of its form: the files of CHGNet's data sets.

One object holds for each material its frames by ``task-calculation-step``; a frame holds a
pymatgen structure and labels in VASP's units. They are brought here to the names, units and
signs of MPtrj in extended XYZ: ``energy`` is the uncorrected one, and the stress, in kBar
and positive in compression, is multiplied by -0.1 GPa. Positions, stored as fractions of
the cell, are rounded to 1e-8 Å, as they are there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import ijson
import numpy as np
from ase import units
from ase.data import atomic_numbers

from mace_train.data.byte_streams import (
    UNPACKING_ERRORS,
    checksum,
    open_packed,
    open_stream,
)
from mace_train.data.frame_source import (
    BrokenFileError,
    Contents,
    FrameFile,
    Mark,
    ReadFrame,
    Span,
)
from mace_train.data.json_materials import MaterialEnd, material_ends
from mace_train.data.plain_frame import RawFrame
from mace_train.data.problems import FrameError

EV_PER_A3_PER_KBAR = -units.GPa / 10
"""Also turns VASP's sign: positive in tension."""

_BLOCK = 1 << 22
_LOOK = 1 << 20  # bytes in which the first frame shows its keys
_BEGINNING = re.compile(rb'\s*\{\s*"[^"]*"\s*:\s*\{\s*"[^"]*"\s*:\s*\{')
_NAMES = {"uncorrected_total_energy": "energy"}
_NO_VALUES = ("structure", "force", "stress", "magmom", "mp_id")


class MptrjJsonFormat:
    """Reads MPtrj's JSON (see `frame_source.FrameFormat`)."""

    def scan(self, file: FrameFile, *, stride: int) -> Contents:
        """Count the frames of a file, with marks between materials."""
        digest = hashlib.sha256()

        def blocks() -> Iterator[bytes]:
            try:
                with open_stream(file) as stream:
                    while block := stream.read(_BLOCK):
                        digest.update(block)
                        yield block
            except UNPACKING_ERRORS:
                return  # the reader meets it again

        marks, frame, begin = [], 0, 0
        last = Mark()
        for end in material_ends(blocks()):
            if not marks or frame + end.num_frames - last.frame > stride:
                last = Mark(frame, begin)
                marks.append(last)
            frame, begin = frame + end.num_frames, end.offset
        is_packed = file.path.suffix.lower() != ".json"
        return Contents(
            frame, tuple(marks), checksum(file) if is_packed else digest.hexdigest()
        )

    def read(
        self, file: FrameFile, span: Span, *, wanted: Collection[str]
    ) -> Iterator[ReadFrame]:
        """Read the frames of a span.

        A material whose JSON is damaged is passed over: its frames are refused.
        """
        del wanted
        index, begin = span.start.frame, span.start.offset
        end = None if span.stop is None else span.stop.offset
        while True:
            num_materials = 0
            try:
                for material, frames in _materials(file, begin, end):
                    for name, frame in frames.items():
                        yield _read_frame(material, name, frame, index)
                        index += 1
                    num_materials += 1
                return
            except (ijson.JSONError, AttributeError) as error:
                damaged, begin = _material(file, begin, end, num_materials, error)
                for _ in range(damaged.num_frames):
                    yield index, _damaged(error)
                    index += 1
                if end is not None and begin >= end:
                    return


def is_mptrj_json(path: Path) -> bool:
    """Whether a JSON file, perhaps packed, looks like MPtrj's."""
    try:
        with open_packed(path) as stream:
            begin = stream.read(_LOOK)
    except UNPACKING_ERRORS:
        return False
    keys = (b'"structure"', b'"uncorrected_total_energy"')
    return _BEGINNING.match(begin) is not None and any(key in begin for key in keys)


def _materials(
    file: FrameFile, begin: int, end: int | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Materials between two places, with their frames; only one is in memory."""
    pieces = ijson.from_iter(_whole_object(file, begin, end))
    return ijson.kvitems(pieces, "", use_float=True)


def _whole_object(file: FrameFile, begin: int, end: int | None) -> Iterator[bytes]:
    """The bytes between two materials, made a JSON object of their own."""
    is_begun = begin == 0
    with open_stream(file, begin=begin, end=end) as stream:
        while block := stream.read(1 << 16):
            if not is_begun:
                block = block.lstrip(b", \t\r\n")
                is_begun = len(block) > 0
                block = b"{" + block if is_begun else block
            yield block
    if end is not None:
        yield b"}"


def _material(
    file: FrameFile, begin: int, end: int | None, place: int, error: Exception
) -> tuple[MaterialEnd, int]:
    """The ``place``-th material from ``begin`` on, and where the next one begins.

    Raises:
        BrokenFileError: If it has no end.
    """
    with open_stream(file, begin=begin, end=end) as stream:
        blocks = iter(lambda: stream.read(_BLOCK), b"")
        ends = material_ends(blocks, depth=0 if begin == 0 else 1)
        found = next(islice(ends, place, None), None)
    if found is None:
        raise BrokenFileError(
            "and all that follow are cut off by the end of the file",
            cure="The file is incomplete: copy it again.",
            detail=str(error).splitlines()[0],
        ) from error
    return found, begin + found.offset


def _damaged(error: Exception) -> FrameError:
    return FrameError(
        "are in a material whose JSON is damaged",
        cure="Mend the file (NaN and Infinity are no JSON: write null, or leave the "
        "frame out).",
        detail=str(error).splitlines()[0],
    )


def _read_frame(material: str, name: str, frame: Any, index: int) -> ReadFrame:
    """A frame, or what is wrong with it."""
    try:
        return _raw_frame(material, name, frame, index)
    except FrameError as problem:
        return index, problem
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return index, FrameError(
            "have no structure and labels of the form of MPtrj",
            cure="Mend these frames in the JSON, or remove them.",
            detail=f"{name}: {type(error).__name__}: {error}",
        )


def _raw_frame(material: str, name: str, frame: dict[str, Any], index: int) -> RawFrame:
    structure = frame["structure"]
    cell = np.array(structure["lattice"]["matrix"], np.float64)
    sites = structure["sites"]
    fractions = np.array([site["abc"] for site in sites], np.float64).reshape(-1, 3)
    columns = {
        key: np.array(frame[label], np.float64)
        for key, label in (("forces", "force"), ("magmoms", "magmom"))
        if frame.get(label) is not None
    }
    values: dict[str, Any] = {
        _NAMES.get(key, key): value
        for key, value in frame.items()
        if key not in _NO_VALUES and value is not None
    }
    if frame.get("stress") is not None:
        values["stress"] = np.array(frame["stress"], np.float64) * EV_PER_A3_PER_KBAR
    values["mp_id"] = material
    parts = name.rsplit("-", 2)
    if len(parts) == 3:
        values |= zip(("task_id", "calc_id", "ionic_step"), parts)
    return RawFrame(
        index=index,
        line_number=1,
        atomic_numbers=np.array([_atomic_number(site) for site in sites], np.int64),
        positions=np.round(fractions @ cell, 8),
        cell=cell,
        pbc=np.array(structure["lattice"].get("pbc", (True, True, True)), bool),
        values=values,
        columns=columns,
        names=(*values, *columns),
    )


def _atomic_number(site: dict[str, Any]) -> int:
    species = site["species"]
    if len(species) != 1 or species[0].get("occu", 1) != 1:
        raise FrameError(
            "have sites that are not one atom each",
            cure="Disordered structures have no forces: remove them.",
            detail=str(species),
        )
    symbol = species[0]["element"]
    return atomic_numbers.get(symbol, 0)
