"""Two atoms pressed together repel each other: walls without holes, for pairs of elements.

Floor 3. Nothing in usual training data is closer than a bond, so that a potential may turn
attractive there; molecular dynamics then falls in, sooner or later. Tortuosity and force
flips are the measures of published benchmarks of dimer curves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from mace_train.physics.dimer_curves import DimerCurve, dimer_curves
from mace_train.physics.outcome import Curve, Findings, Measurement
from mace_train.physics.potential import LeftOutError
from mace_train.physics.structures import bond_length

if TYPE_CHECKING:
    from collections.abc import Callable

    from mace_train.physics.potential import Potential
    from mace_train.physics.setting import Pair, Setting

SHORTEST = 0.5
"""Where dimers are pressed to, Å."""

_FARTHEST = 6.0  # Å, where the cutoff is not known
_STEP = 0.05  # Å
_SHORTEST_BOND, _LONGEST_BOND = 0.55, 1.4
"""Shares of the sum of covalent radii between which there may be a bond. The shortest known
(Cr2, Mo2, N2, CO) are 0.6 to 0.8 of it; the long ones (F2, alkali metals) below 1.3."""
_DIP = 0.1  # eV, 1000 K: what is less deep holds no atom
_NO_FORCE = 0.01  # eV/Å: below, a change of sign says nothing
_NAMED, _DRAWN = 8, 10
_MANY_PAIRS = 500  # from here on in double steps


@dataclass(frozen=True)
class Hole:
    """Where the energy of a dimer falls, though it is pressed together.

    Attributes:
        curve: Of the pair.
        distance: Below this one it falls, Å.
        wall: Energy at the top, above that of the bond, eV.
        depth: How far it falls from there, eV; infinite where it is not finite.
        bottom: Where it is lowest, Å: at the shortest distance there is no wall behind.
    """

    curve: DimerCurve
    distance: float
    wall: float
    depth: float
    bottom: float

    def __str__(self) -> str:
        name, fall = self.curve.name, f"the energy falls by {self.depth:.3g} eV"
        if self.wall < _DIP:
            return f"{name}: no wall below {self.distance:.2f} Å, {fall}"
        way = f"from {self.distance:.2f} to {self.bottom:.2f} Å"
        return f"{name}: {fall} {way}, behind a wall of {self.wall:.3g} eV"


def check_dimers(setting: Setting) -> Findings:
    """Scan the pairs from 0.5 Å to the cutoff."""
    if not setting.pairs:
        raise LeftOutError("no pair of elements was asked for")
    potential, limits = setting.potential, setting.limits
    step = _STEP if len(setting.pairs) <= _MANY_PAIRS else 2 * _STEP
    curves = scan_pairs(potential, setting.pairs, step=step, tell=setting.tell)
    holes = sorted(find_holes(curves), key=lambda hole: hole.wall)
    flips = np.array([force_flips(curve) for curve in curves], dtype=np.float64)
    turns = np.array([tortuosity(curve) for curve in curves])
    count = f"of {len(curves)} pairs"
    if holes:
        count += f"; the lowest wall: {holes[0].curve.name} at {holes[0].distance:.2f} Å"
    measurements = (
        Measurement("holes", float(len(holes)), "pairs", limits.dimer_holes, count),
        Measurement("force flips", *_mean(flips, limits.force_flips, curves)),
        Measurement("tortuosity", *_mean(turns, limits.tortuosity, curves)),
    )
    notes = [str(hole) for hole in holes[:_NAMED]]
    if len(holes) > _NAMED:
        notes.append(f"and {len(holes) - _NAMED} more pairs with holes")
    if setting.pairs_note:
        notes.append(setting.pairs_note)
    return Findings(measurements, _drawn(curves, holes), tuple(notes))


def scan_pairs(
    potential: Potential,
    pairs: Sequence[Pair],
    *,
    step: float,
    tell: Callable[[str], None] = lambda _: None,
) -> list[DimerCurve]:
    """Curves of pairs from 0.5 Å to the cutoff.

    Args:
        potential: Gives energies and forces.
        pairs: Elements.
        step: Å.
        tell: Is told how far it is.
    """
    far = potential.r_max or _FARTHEST
    distances = np.arange(SHORTEST, far + 0.5 * step, step)
    return dimer_curves(potential, pairs, distances, tell=tell)


def find_holes(curves: Sequence[DimerCurve]) -> list[Hole]:
    """The curves that do not rise all the way to the shortest distance."""
    holes = (_find_hole(curve) for curve in curves)
    return [hole for hole in holes if hole is not None]


def force_flips(curve: DimerCurve) -> int:
    """How often the force changes its sign; a bond makes one."""
    signs = np.sign(curve.forces[np.abs(curve.forces) > _NO_FORCE])
    return int((np.diff(signs) != 0).sum())


def tortuosity(curve: DimerCurve) -> float:
    """Length of the way of the energy over that by its lowest point alone; 1 is best."""
    energies = curve.energies
    way = float(np.abs(np.diff(energies)).sum())
    lowest = energies.min()
    shortest = float(energies[0] - lowest + energies[-1] - lowest)
    return way / shortest if shortest > 0 or np.isnan(way) else 1.0


def _find_hole(curve: DimerCurve) -> Hole | None:
    """Come from outside: the energy may fall to one bond, and then has to rise."""
    length, distances, energies = bond_length(*curve.pair), curve.distances, curve.energies
    is_wrong = ~np.isfinite(energies)
    if is_wrong.any():
        first = float(distances[is_wrong].max())
        return Hole(curve, first, wall=0.0, depth=np.inf, bottom=first)
    inside = distances <= max(_LONGEST_BOND * length, 2 * SHORTEST)
    place, inwards = distances[inside][::-1], energies[inside][::-1]
    bond = _first_fall(-inwards)
    if bond is None or place[bond] < _SHORTEST_BOND * length:
        top, wall = 0, 0.0  # the energy does not rise, or much too late
    else:
        fall = _first_fall(inwards[bond:])
        if fall is None:
            return None
        top = bond + fall
        wall = float(inwards[top] - min(inwards[bond], energies[-1]))
    bottom = top + int(np.argmin(inwards[top:]))
    depth = float(inwards[top] - inwards[bottom])
    return Hole(curve, float(place[top]), wall, depth, bottom=float(place[bottom]))


def _first_fall(values: Float[np.ndarray, " points"]) -> int | None:
    """Where the highest value before the first fall stands; None if values never fall."""
    highest = np.maximum.accumulate(values)
    noise = np.maximum(_DIP, 1e-6 * np.abs(highest))  # float32 knows seven digits
    falls = highest - values > noise
    return int(np.argmax(values[: int(np.argmax(falls))])) if falls.any() else None


def _mean(
    values: Float[np.ndarray, " pairs"], limit: float, curves: Sequence[DimerCurve]
) -> tuple[float, str, float, str]:
    """Mean, unit, limit, and the pair of the largest value."""
    place = int(np.argmax(np.where(np.isnan(values), np.inf, values)))
    where = f"mean; largest: {curves[place].name} {values[place]:.3g}"
    return float(values.mean()), "", limit, where


def _drawn(curves: Sequence[DimerCurve], holes: Sequence[Hole]) -> tuple[Curve, ...]:
    """Curves with holes first, then others; energies above that of the largest distance."""
    marked = {hole.curve.pair: hole.distance for hole in holes}
    shown = [*(hole.curve for hole in holes)]
    shown += [curve for curve in curves if curve.pair not in marked]
    return tuple(
        Curve(
            curve.name,
            curve.distances,
            curve.energies - curve.energies[-1],
            marked.get(curve.pair),
        )
        for curve in shown[:_DRAWN]
    )
