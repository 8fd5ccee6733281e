"""Which elements a model gets, and whether every set can do with them.

Floor 4.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from ase.data import atomic_numbers

from mace_train.elements import MP0_ATOMIC_NUMBERS, ElementTable
from mace_train.training.frame_set import FrameSet, name_elements

if TYPE_CHECKING:
    from mace_train.data.store import FrameStore
    from mace_train.training.data_sets import SplitName

logger = logging.getLogger(__name__)

_CURE = (
    "Leave these frames out, or start from a model that knows these elements, or train "
    "from the beginning, without init_from."
)


def choose_elements(
    chosen: Literal["auto", "mp0"] | Sequence[int | str],
    store: FrameStore,
    sets: Mapping[SplitName, FrameSet],
    *,
    of_parent: ElementTable | None,
) -> ElementTable:
    """Elements of the model, which must be known in every set.

    Args:
        chosen: What ``data.elements`` says.
        store: Frames of ``data.train``.
        sets: Frames of each split.
        of_parent: Elements of the model that training starts from, which then decides.

    Raises:
        ValueError: If a set holds an element that is not among them.
    """
    who, cure = "data.elements", "Name them all in data.elements, or set it to mp0."
    if of_parent is not None:
        elements = of_parent
        who, cure = "the model of init_from", _CURE
    elif chosen == "mp0":
        elements = ElementTable(MP0_ATOMIC_NUMBERS)
        cure = "Name all elements in data.elements."
    elif isinstance(chosen, str):
        elements = ElementTable.containing(store.atomic_numbers)
        who = "the model, whose elements are those of data.train (data.elements=auto),"
    else:
        elements = ElementTable.containing(map(_atomic_number, chosen))
    for name, frames in sets.items():
        frames.require_elements(elements, who=who, where=f"the {name} set", cure=cure)
        _warn_of_untrained_elements(name, frames, trained=sets["train"].atomic_numbers)
    return elements


def _warn_of_untrained_elements(name: str, frames: FrameSet, *, trained: set[int]) -> None:
    untrained = frames.atomic_numbers - trained
    if untrained:
        held = frames.with_elements(untrained)
        logger.warning(
            "no training frame holds %s: errors on %d of %d %s frames will be large (%s)",
            name_elements(untrained),
            len(held),
            len(frames),
            name,
            held.first_names(),
        )


def _atomic_number(element: int | str) -> int:
    """Atomic number of an element given by number or symbol."""
    if isinstance(element, int):
        return element
    if element not in atomic_numbers:
        raise ValueError(f"data.elements: {element!r} is no element")
    return atomic_numbers[element]
