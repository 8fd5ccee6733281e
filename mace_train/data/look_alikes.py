"""Names that look like those of labels, to be offered to a user whose labels are not found.

Nothing is ever read under such a name unless the user says so.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Literal

Offer = Literal["energy", "forces", "stress", "virials"]
"""What a name may stand for; each has its key in the configuration, ``data.*_key``."""

COMMAND = "mace-train ..."
"""How the commands that messages show begin."""

_WORDS: tuple[tuple[Offer, str], ...] = (
    ("forces", "force"),
    ("virials", "virial"),
    ("stress", "stress"),
    ("energy", "energy"),
)
_SHORT: dict[str, Offer] = {
    "e": "energy", "e0": "energy", "u0": "energy", "e_tot": "energy", "etot": "energy",
    "toten": "energy", "e_dft": "energy", "dft_e": "energy", "f": "forces",
}  # fmt: skip
_SIZES: dict[Offer, tuple[int, ...]] = {
    "energy": (1,),
    "forces": (3,),
    "stress": (6, 9),
    "virials": (6, 9),
}
# Corrected energies are of another scale; those of orbitals and parts are no total energy.
_NOT_LABELS = re.compile(
    "per_?atom|corrected|kinetic|weight|tol|cut_?off|homo|lumo|fermi|band_?gap|hull|formation|"
    "error|std|var|mae|rmse|max|kind|zpe|correction|nonlocal|nl_|elec_|entropy"
)


@cache
def look_alike(name: str) -> Offer | None:
    """What a name may stand for, as far as its letters tell.

    >>> look_alike("mace_forces"), look_alike("energy_per_atom"), look_alike("U0")
    ('forces', None, 'energy')
    """
    lower = name.lower()
    if _NOT_LABELS.search(lower):
        return None
    for offer, word in _WORDS:
        if word in lower:
            return offer
    return _SHORT.get(lower)


def offer_of(name: str, size: int, *, per_atom: bool = False) -> Offer | None:
    """What a name may stand for, if its numbers have the right shape for it.

    Args:
        name: Of a value or a column.
        size: Numbers in the value, or for each atom in the column.
        per_atom: Whether it is a column.
    """
    offer = look_alike(name)
    if offer is None or per_atom != (offer == "forces") or size not in _SIZES[offer]:
        return None
    return offer


def commands(offer: str, counts: dict[str, int]) -> list[str]:
    """A line for each name of an `Offer`: its frames, and the command that takes it.

    >>> commands("energy", {"U0": 100})
    ['U0 is in 100 frames: mace-train ... data.energy_key=U0']
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        f"{name} is in {count} frames: {COMMAND} data.{offer}_key={name}"
        for name, count in ordered
    ]
