"""Short runs of a crystal like copper, and a made-up state, for the tests beside."""

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator

from mace_train.neighbors import near_pairs
from mace_train.simulation.md_run import MDRun
from mace_train.simulation.schedule import TemperatureSchedule
from mace_train.simulation.settings import MDSettings
from mace_train.simulation.state import RunState

RAMP = ("300:0.1", "300-900:0.1", "nve:0.1")


class Springs(Calculator):
    """A spring between each two neighbors of a crystal: fast, and with no memory."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - ASE's own declaration

    def __init__(self, crystal: Atoms) -> None:
        super().__init__()
        pairs, self.shifts = near_pairs(
            crystal.positions, crystal.cell.array, crystal.pbc, r_max=3.0
        )
        self.first, self.second = pairs
        self.stiffness, self.length = 2.5, 3.61 / np.sqrt(2)  # eV/Å^2, Å

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        x = self.atoms.positions
        vectors = x[self.second] - x[self.first] + self.shifts @ self.atoms.cell.array
        lengths = np.linalg.norm(vectors, axis=1)
        strain = lengths - self.length
        pulls = (self.stiffness * strain / lengths)[:, None] * vectors
        forces = np.zeros_like(x)
        np.add.at(forces, self.first, pulls)
        np.add.at(forces, self.second, -pulls)
        energy = float(0.5 * self.stiffness * (strain**2).sum())
        self.results = {"energy": energy, "forces": forces}


def copper(repeat: tuple[int, int, int] = (2, 1, 1)) -> Atoms:
    atoms = bulk("Cu", a=3.61, cubic=True) * repeat
    atoms.calc = Springs(atoms)
    return atoms


def run_in(folder, atoms, schedule, **options) -> MDRun:
    settings = options.pop("settings", MDSettings(log_every=5, frame_every=10))
    return MDRun(atoms, folder, schedule, settings=settings, show_bar=False, **options)


def ramp(*stages: str, timestep: float = 2.0) -> TemperatureSchedule:
    return TemperatureSchedule(stages or RAMP, timestep=timestep)


def a_state(**changes) -> RunState:
    rng = np.random.default_rng(3)
    rng.standard_normal(5)
    values = {
        "step": 7,
        "heat": 0.1 + 0.2,
        "begun_with": -1 / 3,
        "last_target": 300.0,
        "followed": 0.1 + 287.3,
        "positions": rng.normal(size=(2, 3)),
        "momenta": rng.normal(size=(2, 3)),
        "forces": rng.normal(size=(2, 3)),
        "numbers": np.array([14, 8]),
        "masses": np.array([28.085, 15.999]),
        "cell": np.eye(3) * 5.1,
        "pbc": np.array([True, True, False]),
        "company": np.array([True, False]),
        "rng": dict(rng.bit_generator.state),
        "settings": {"timestep": "2.0"},
        "schedule": ["300:1"],
        "sizes": (120, 4000),
    }
    return RunState(**(values | changes))
