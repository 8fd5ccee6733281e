"""Where the materials of MPtrj's JSON begin and end, without parsing it.

The 12 GB are one object of objects, which a parser can only read from the beginning. Braces
outside of strings tell where a material ends, at the speed of the disk, so that workers can
parse one part each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

_QUOTE, _BACKSLASH, _OPEN, _CLOSE = b'"\\{}'


class MaterialEnd(NamedTuple):
    """Where a material ends.

    Attributes:
        offset: The byte after its closing brace.
        num_frames: Frames in it.
    """

    offset: int
    num_frames: int


def material_ends(blocks: Iterable[bytes], *, depth: int = 0) -> Iterator[MaterialEnd]:
    """Walk through the bytes of ``{material: {frame: {...}, ...}, ...}``.

    Args:
        blocks: The bytes in turn.
        depth: Braces that are open before the first byte: 0 at the beginning of the file, 1
            between two materials.
    """
    offset, is_text, is_escape, num_frames = 0, False, False, 0
    for block in blocks:
        codes = np.frombuffer(block, np.uint8)
        quotes = np.flatnonzero(codes == _QUOTE)
        if is_escape or b"\\" in block:
            quotes, is_escape = _without_escaped(codes, quotes, is_escape)
        places = np.flatnonzero((codes == _OPEN) | (codes == _CLOSE))
        is_inside = (np.searchsorted(quotes, places) + is_text) % 2 == 1
        places = places[~is_inside]
        steps = np.where(codes[places] == _OPEN, 1, -1)
        depths = depth + np.cumsum(steps)
        frames = num_frames + np.cumsum((depths == 3) & (steps == 1))
        before = 0
        for k in np.flatnonzero((depths == 1) & (steps == -1)):
            yield MaterialEnd(offset + int(places[k]) + 1, int(frames[k]) - before)
            before = int(frames[k])
        if len(places):
            depth, num_frames = int(depths[-1]), int(frames[-1]) - before
        is_text = (len(quotes) + is_text) % 2 == 1
        offset += len(block)


def _without_escaped(
    codes: np.ndarray, quotes: np.ndarray, is_escape: bool
) -> tuple[np.ndarray, bool]:
    """Quotes that no backslash precedes, and whether one is open at the end.

    Args:
        codes: Bytes.
        quotes: Places of the quotes among them.
        is_escape: Whether the first byte is escaped.
    """
    escaped: set[int] = {0} if is_escape else set()
    for place in np.flatnonzero(codes == _BACKSLASH).tolist():
        if place not in escaped:
            escaped.add(place + 1)
    return quotes[~np.isin(quotes, list(escaped))], len(codes) in escaped
