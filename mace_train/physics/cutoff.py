"""Energy, force and its slope have no jump where two atoms leave each other's sphere.

Floor 3. On either side of the cutoff, values at a few distances are extended to the cutoff
itself; what is left between both sides is a jump. A jump of the energy heats molecular
dynamics; one of the slope of the force spoils phonons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from mace_train.physics.dimer_curves import dimer_curves, pair_name
from mace_train.physics.outcome import Curve, Findings, Measurement, largest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mace_train.physics.potential import Dtype, Potential
    from mace_train.physics.setting import Pair, Setting

_STEPS: dict[Dtype, float] = {"float64": 1e-4, "float32": 5e-3}
_SCANNED = 0.1  # Å on both sides, for the figure
_NO_FORCE = 1e-12  # eV/Å
_MOST_PAIRS = 6
_VALUE = np.array([3.0, -3.0, 1.0])
"""Weights of values at one, two and three steps, for the value at none: a parabola."""
_SLOPE = np.array([-2.5, 4.0, -1.5])
"""The same for the derivative, times the step."""


def check_cutoff(setting: Setting) -> Findings:
    """Move two atoms apart, for some pairs of elements."""
    potential, limits = setting.potential, setting.limits
    potential.cutoff  # noqa: B018 - left out if it is not known
    places = np.linspace(0, len(setting.pairs) - 1, _MOST_PAIRS).round().astype(int)
    pairs = [setting.pairs[place] for place in dict.fromkeys(places.tolist())]
    jumps = cutoff_jumps(potential, pairs)
    names = ("energy", "eV"), ("force", "eV/Å"), ("force slope", "eV/Å²")
    bounds = (limits.cutoff_energy, limits.cutoff_forces, limits.cutoff_slope)
    measurements = []
    for column, (name, unit), bound in zip(zip(*jumps), names, bounds):
        value, where = largest(zip(column, map(pair_name, pairs)))
        measurements.append(Measurement(f"jump of {name}", value, unit, bound, where))
    around = potential.cutoff + np.linspace(-_SCANNED, _SCANNED, 41)
    curves = dimer_curves(potential, pairs, around)
    drawn = tuple(Curve(curve.name, curve.distances, curve.forces) for curve in curves)
    inside = around < potential.cutoff
    is_silent = all(np.all(abs(curve.forces[inside]) < _NO_FORCE) for curve in curves)
    silence = f"no force within {_SCANNED} Å of r_max={potential.cutoff:g} Å"
    notes = (f"{silence}: is r_max right?",) if is_silent else ()
    return Findings(tuple(measurements), drawn, notes)


def cutoff_jumps(
    potential: Potential, pairs: Sequence[Pair]
) -> list[tuple[float, float, float]]:
    """Jumps of energy (eV), force (eV/Å) and slope of the force (eV/Å^2), for each pair.

    Raises:
        LeftOutError: If the cutoff is not known.
    """
    step = _STEPS[potential.dtype]
    steps = step * np.array([-3, -2, -1, 1, 2, 3])
    curves = dimer_curves(potential, pairs, potential.cutoff + steps)
    return [
        (
            _jump(curve.energies),
            _jump(curve.forces),
            _jump_of_slope(curve.forces) / step,
        )
        for curve in curves
    ]


def _jump(values: Float[np.ndarray, " points"]) -> float:
    """Between the values that three points below and three above come to."""
    below, above = values[2::-1], values[3:]
    return float(abs((above - below) @ _VALUE))


def _jump_of_slope(values: Float[np.ndarray, " points"]) -> float:
    """The same for the slope, times the step; seen from the cutoff, below is backwards."""
    below, above = values[2::-1], values[3:]
    return float(abs((above + below) @ _SLOPE))
