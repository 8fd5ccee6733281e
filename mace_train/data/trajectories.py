"""Do consecutive frames follow one trajectory? Then a random split would deceive."""

from __future__ import annotations

import numpy as np

from mace_train.data.frame import Frame
from mace_train.data.sampler import permutation
from mace_train.data.store import FrameStore

_PAIRS = 100
_CLOSE = 0.5  # Å, rms over atoms: far less than between independent structures


def looks_like_trajectory(store: FrameStore, places: np.ndarray) -> bool:
    """Whether most frames are much closer to the one before than to any other.

    A hundred pairs of neighbors are compared with a hundred random pairs: frames drawn at
    random from a simulation are no closer to the one before than to the rest.

    Args:
        store: The frames.
        places: Those to look at, in order.
    """
    if len(places) < 3:
        return False
    firsts = permutation(len(places) - 1, 1)[:_PAIRS]
    others = permutation(len(places), 2)[: len(firsts)]
    before = [store.frame(int(places[first])) for first in firsts]
    after = [store.frame(int(places[first + 1])) for first in firsts]
    random = [store.frame(int(places[other])) for other in others]
    near = np.array([_distance(a, b) for a, b in zip(before, after)])
    far = np.array([_distance(a, b) for a, b in zip(before, random)])
    threshold = min(_CLOSE, 0.5 * float(np.median(far)))
    return float(np.mean(near < threshold)) > 0.5


def _distance(first: Frame, second: Frame) -> float:
    """Root-mean-square displacement of atoms in Å; infinite for other compositions."""
    if not np.array_equal(first.atomic_numbers, second.atomic_numbers):
        return np.inf
    displacements = second.positions - first.positions
    if first.pbc.all() and first.volume > 0:
        fractional = np.linalg.solve(first.cell.T, displacements.T).T
        displacements = (fractional - np.rint(fractional)) @ first.cell
    return float(np.sqrt(np.mean(np.sum(displacements**2, axis=1))))
