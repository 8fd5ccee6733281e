"""Which temperature a run has when: stages of constant, rising and no temperature.

Floor 3, the standard library and numpy only.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_STAGE = re.compile(r"(?P<begin>nve|[0-9.]+)(?:-(?P<end>[0-9.]+))?:(?P<time>[0-9.]+)")
_FORMS = "300:50 (300 K for 50 ps), 300-1500:25 (a ramp) or nve:10 (constant energy)"


@dataclass(frozen=True)
class Stage:
    """A time of constant temperature, of a ramp, or without a thermostat.

    Args:
        picoseconds: How long it lasts.
        begin: Temperature at its begin in K; None: no thermostat, constant energy.
        end: Temperature at its end in K, reached linearly; None for constant energy.

    Raises:
        ValueError: If the time or a temperature is not positive, or one end has none.

    >>> print(Stage(50, 300, 300), Stage.parse("300-1500:25"), Stage.parse("nve:10"))
    300:50 300-1500:25 nve:10
    """

    picoseconds: float
    begin: float | None
    end: float | None

    def __post_init__(self) -> None:
        if not 0 < self.picoseconds < math.inf:
            raise ValueError(f"a stage of {self.picoseconds} ps: give a time above 0")
        if (self.begin is None) != (self.end is None):
            raise ValueError("a stage has a thermostat or not: give both ends or neither")
        for kelvin in (self.begin, self.end):
            if kelvin is not None and not 0 < kelvin < math.inf:
                raise ValueError(
                    f"a temperature of {kelvin} K: a thermostat needs one above 0"
                )

    @classmethod
    def parse(cls, text: str) -> Stage:
        """Read a stage as `str` writes it.

        Args:
            text: ``K:ps``, ``K-K:ps`` or ``nve:ps``.

        Raises:
            ValueError: If it is none of these.
        """
        match = _STAGE.fullmatch(text.strip().lower())
        try:
            assert match is not None
            time = float(match["time"])
            begin = None if match["begin"] == "nve" else float(match["begin"])
            end = float(match["end"]) if match["end"] else begin
        except (AssertionError, ValueError):
            raise ValueError(f"{text!r} is no stage: write {_FORMS}") from None
        return cls(time, begin, end)

    def __str__(self) -> str:
        if self.begin is None:
            return f"nve:{self.picoseconds:.12g}"
        ramp = "" if self.end == self.begin else f"-{self.end:.12g}"
        return f"{self.begin:.12g}{ramp}:{self.picoseconds:.12g}"


class TemperatureSchedule:
    """Stages one after the other, as steps of a fixed length.

    Args:
        stages: As `Stage` or as its text.
        timestep: fs.

    Raises:
        ValueError: If there is no stage, or the timestep is not positive or longer than a
            stage.

    >>> schedule = TemperatureSchedule(["300:1", "300-1500:2", "nve:1"], timestep=2.0)
    >>> schedule.num_steps, schedule.target(0), schedule.target(1000), schedule.target(1999)
    (2000, 300.0, 900.0, None)
    """

    def __init__(self, stages: Sequence[Stage | str], *, timestep: float) -> None:
        if not 0 < timestep < math.inf:
            raise ValueError(f"a timestep of {timestep} fs: give one above 0, such as 1")
        self.stages = tuple(
            stage if isinstance(stage, Stage) else Stage.parse(stage) for stage in stages
        )
        if not self.stages:
            raise ValueError(f"a run needs at least one stage: {_FORMS}")
        self.timestep = timestep
        self._targets = np.concatenate([_targets(s, timestep) for s in self.stages])

    @property
    def num_steps(self) -> int:
        """Steps of all stages."""
        return len(self._targets)

    @property
    def first_temperature(self) -> float | None:
        """The first temperature of any stage in K; None if all have constant energy."""
        known = self._targets[~np.isnan(self._targets)]
        return float(known[0]) if len(known) else None

    def target(self, step: int) -> float | None:
        """The thermostat's temperature in K during a step; None without a thermostat.

        Args:
            step: From 0 to ``num_steps - 1``; the step that follows the last has the last
                temperature.
        """
        kelvin = float(self._targets[min(step, self.num_steps - 1)])
        return None if math.isnan(kelvin) else kelvin

    def agrees_until(self, step: int, other: TemperatureSchedule) -> bool:
        """Whether both prescribe the same for the steps before this one.

        Args:
            step: Number of steps that are compared.
            other: Another schedule.
        """
        ours, theirs = self._targets[:step], other._targets[:step]
        return len(ours) == len(theirs) and np.array_equal(ours, theirs, equal_nan=True)

    def __str__(self) -> str:
        return " ".join(map(str, self.stages))


def _targets(stage: Stage, timestep: float) -> np.ndarray:
    """The temperature of each step of a stage; NaN without a thermostat."""
    steps = round(1000 * stage.picoseconds / timestep)
    if steps < 1:
        raise ValueError(
            f"the stage {stage} is shorter than a timestep of {timestep:g} fs: give it "
            "more picoseconds"
        )
    if stage.begin is None or stage.end is None:
        return np.full(steps, np.nan)
    return stage.begin + (stage.end - stage.begin) * np.arange(steps) / steps
