"""`Limits`: how large an error may be before a check fails, for each number format.

Floor 3. In float64 laws that hold by construction hold to rounding, so anything above it is
a defect. In float32 a sum of energies of some hundred eV is exact to 1e-5 eV only, and
differences of energies are divided by steps: those limits tell a defect from rounding.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mace_train.physics.potential import Dtype


@dataclass(frozen=True)
class Limits:
    """The largest values that are right.

    Attributes:
        energy: Change of the energy under what must not change it, eV/atom.
        forces: Change of the forces, beyond turning along, eV/Å.
        stress: Change of the stress, beyond turning along, eV/Å^3.
        locality: Force by an atom that is out of reach, eV/Å.
        forces_fd: Forces against differences of energies, eV/Å.
        stress_fd: Stress against differences of energies, eV/Å^3.
        cutoff_energy: Jump of the energy of two atoms at the cutoff, eV.
        cutoff_forces: Jump of their force, eV/Å.
        cutoff_slope: Jump of the slope of their force, eV/Å^2.
        dimer_holes: Pairs whose energy falls as they are pressed together.
        force_flips: Changes of sign of the force along a dimer curve, mean over pairs.
        tortuosity: Length of the way up and down along a dimer curve over the shortest one,
            mean over pairs.
        volume_minima: How many minima there are in the energy-volume curve besides one.
        volume_roughness: Deviation of that curve from a smooth one, meV/atom.
        nve_drift: Slope of the total energy in molecular dynamics, meV/atom/ps.
    """

    energy: float
    forces: float
    stress: float
    locality: float
    forces_fd: float
    stress_fd: float
    cutoff_energy: float
    cutoff_forces: float
    cutoff_slope: float
    dimer_holes: float
    force_flips: float
    tortuosity: float
    volume_minima: float
    volume_roughness: float
    nve_drift: float


_FLOAT64 = Limits(
    energy=1e-9,
    forces=1e-8,
    stress=1e-9,
    locality=1e-10,
    forces_fd=1e-6,
    stress_fd=1e-7,
    cutoff_energy=1e-6,
    cutoff_forces=1e-6,
    cutoff_slope=1e-5,
    dimer_holes=0.0,
    force_flips=2.0,
    tortuosity=1.5,
    volume_minima=0.0,
    volume_roughness=1.0,
    nve_drift=0.1,
)
_FLOAT32 = replace(
    _FLOAT64,
    energy=1e-5,
    forces=1e-4,
    stress=1e-5,
    locality=1e-5,
    forces_fd=2e-3,
    stress_fd=1e-4,
    cutoff_energy=1e-4,
    cutoff_forces=1e-3,
    cutoff_slope=2e-2,
    nve_drift=0.5,
)
LIMITS: dict[Dtype, Limits] = {"float64": _FLOAT64, "float32": _FLOAT32}


def limits_for(dtype: Dtype, given: Mapping[str, float | None] | None = None) -> Limits:
    """Limits of a number format, some of them replaced.

    Args:
        dtype: How the potential computes.
        given: Values by name; None stands for the one of ``dtype``.

    Raises:
        ValueError: If there is no limit of such a name.
    """
    names = [field.name for field in fields(Limits)]
    unknown = [name for name in given or {} if name not in names]
    if unknown:
        raise ValueError(f"there are no limits {unknown}; those are {', '.join(names)}")
    new = {name: value for name, value in (given or {}).items() if value is not None}
    return Limits(**{**asdict(LIMITS[dtype]), **new})
