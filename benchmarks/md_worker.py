"""MD under one code's calculator in one process, driven command by command.

`md.py` starts a worker for each code with `step_processes.py`; they take turns.
"""

from __future__ import annotations

import resource
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet
from md_crystal import read_crystal
from step_worker import forget_peak, process_status

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

TIMESTEP = 1.0  # fs


class Dynamics(ABC):
    """A crystal that moves; the public methods are the commands."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of what decides the speed."""

    @abstractmethod
    def _calculator(self, model: str, dtype: str) -> Calculator:
        """The code's own calculator with the model of a file."""

    def limit_memory(self, megabytes: float) -> None:
        """Let allocations fail beyond this; should memory run out, let it hit this one."""
        size = int(megabytes * 2**20)
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))
        Path("/proc/self/oom_score_adj").write_text("1000")

    def load(self, model: str, crystal: str, dtype: str) -> None:
        """Read the model and the crystal; memory counts from here on.

        Two atoms are computed first, so that code that is loaded when it is first used does
        not count.
        """
        self.atoms = read_crystal(Path(crystal))
        calculator = self._calculator(model, dtype)
        pair = bulk("NaCl", "rocksalt", a=5.6)
        pair.calc = calculator
        pair.get_forces()
        self.atoms.calc = calculator
        self.dynamics = VelocityVerlet(self.atoms, timestep=TIMESTEP * units.fs)
        self.before = forget_peak()

    def first_frame(self, forces: str) -> float:
        """Energy in eV of the crystal as it is; its forces are written to a .npy file."""
        np.save(forces, self.atoms.get_forces())
        return float(self.atoms.get_potential_energy())

    def steps(self, count: int) -> float:
        """Seconds that so many steps take."""
        began = time.perf_counter()
        self.dynamics.run(count)
        return time.perf_counter() - began

    def state(self) -> dict[str, Any]:
        """Temperature in K, and memory in MB: the peak, and what there was before."""
        return {
            "temperature": float(self.atoms.get_temperature()),
            "peak": process_status("VmHWM"),
            "before": self.before,
        }
