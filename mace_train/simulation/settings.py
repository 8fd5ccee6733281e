"""`MDSettings`: how a run integrates and what it writes.

Floor 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from mace_train.simulation.thermostats import ThermostatName


@dataclass(frozen=True)
class MDSettings:
    """What stays the same while a run goes on.

    Args:
        thermostat: ``rescaling`` or ``langevin``, see `thermostats.thermalize`.
        relaxation: Time in which the thermostat acts, fs.
        seed: Of velocities and thermostat.
        log_every: Steps between rows of the log.
        frame_every: Steps between frames of the trajectory.

    Raises:
        ValueError: If a number is not positive, or the thermostat is not known.
    """

    thermostat: ThermostatName = "rescaling"
    relaxation: float = 100.0
    seed: int = 0
    log_every: int = 10
    frame_every: int = 100

    def __post_init__(self) -> None:
        for name in ("relaxation", "log_every", "frame_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: give a number above 0")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: give 0 or more")
        if self.thermostat not in get_args(ThermostatName):
            known = " or ".join(get_args(ThermostatName))
            raise ValueError(f"thermostat={self.thermostat!r}: give {known}")
