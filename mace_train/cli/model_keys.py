"""The keys of commands that take a model and no data: ``mace-export`` and ``mace-check``.

Floor 6, the standard library only; see `cli.keys`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

if TYPE_CHECKING:
    from mace_train.constraints import (
        Interval,
        NonNegativeFloat,
        PositiveFloat,
        PositiveInt,
    )
    from mace_train.physics.suite import CheckName


class Export(TypedDict):
    """Keys of ``mace-export``."""

    checkpoint: str
    format: Literal["mace_torch", "torch_export", "lammps"]
    output: str
    head: str | None
    dtype: Literal["auto", "float32", "float64"]
    overwrite: bool
    level_of_theory: str | None


class CheckLimits(TypedDict):
    """The largest errors that ``mace-check`` lets pass; see `physics.limits.Limits`."""

    energy: NonNegativeFloat | None
    forces: NonNegativeFloat | None
    stress: NonNegativeFloat | None
    locality: NonNegativeFloat | None
    forces_fd: NonNegativeFloat | None
    stress_fd: NonNegativeFloat | None
    cutoff_energy: NonNegativeFloat | None
    cutoff_forces: NonNegativeFloat | None
    cutoff_slope: NonNegativeFloat | None
    dimer_holes: NonNegativeFloat | None
    force_flips: NonNegativeFloat | None
    tortuosity: NonNegativeFloat | None
    volume_minima: NonNegativeFloat | None
    volume_roughness: NonNegativeFloat | None
    nve_drift: NonNegativeFloat | None


class Check(TypedDict):
    """Keys of ``mace-check``."""

    checkpoint: str | None
    calculator: Any
    r_max: PositiveFloat | None
    num_interactions: PositiveInt | None
    structure: str | None
    elements: Literal["auto", "all"] | list[str | int]
    checks: Literal["all"] | CheckName | list[CheckName]
    skip: CheckName | list[CheckName]
    output: str
    dtype: Literal["auto", "float32", "float64"]
    device: str
    head: str | None
    figures: bool
    nve_steps: Annotated[int, Interval(at_least=20)]
    temperature: PositiveFloat
    limits: CheckLimits
