"""Whether a saved state is of the run that is to go on: atoms, settings, potential.

Floor 3.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from mace_train.simulation.schedule import TemperatureSchedule
from mace_train.simulation.state import RunState

if TYPE_CHECKING:
    from pathlib import Path

    from ase import Atoms

    from mace_train.simulation.settings import MDSettings

_SAME_FORCES = 1e-3  # of the largest force, and eV/Å: more than rounding of float32


def settings_as_text(settings: MDSettings, timestep: float) -> dict[str, str]:
    """What must not change, by name.

    Args:
        settings: Of the run.
        timestep: fs.
    """
    return {"timestep": str(float(timestep))} | {
        name: str(value) for name, value in asdict(settings).items()
    }


def check_same_run(
    state: RunState,
    atoms: Atoms,
    *,
    settings: dict[str, str],
    schedule: TemperatureSchedule,
    folder: Path,
) -> None:
    """Refuse a state of other atoms, settings or temperatures.

    Args:
        state: As saved.
        atoms: As given; their positions need not be those of the state.
        settings: What `settings_as_text` made.
        schedule: May go on differently after the steps that are done.
        folder: For the message.

    Raises:
        ValueError: With everything that differs.
    """
    differences = [
        f"{name} is {settings[name]}, was {was}"
        for name, was in state.settings.items()
        if settings.get(name) != was
    ]
    if not np.array_equal(state.numbers, atoms.numbers):
        differences.append(
            f"{atoms.get_chemical_formula()} are other atoms than the {len(state.numbers)} "
            "of the run"
        )
    elif not np.array_equal(state.masses, atoms.get_masses()):
        differences.append("the masses differ")
    if not np.array_equal(state.pbc, atoms.pbc) or not np.array_equal(
        state.cell, atoms.cell.array
    ):
        differences.append("the cell or its periodic directions differ")
    was = TemperatureSchedule(state.schedule, timestep=float(state.settings["timestep"]))
    if not was.agrees_until(state.step, schedule):
        differences.append(
            f"the stages are {schedule}, were {was}, and differ in the {state.step} steps "
            "that are done"
        )
    if differences:
        raise ValueError(
            f"{folder} holds another run: {'; '.join(differences)}. Give the same as "
            "before (later stages may change), or another folder"
        )


def check_not_overtaken(path: Path, step: int | None) -> None:
    """Refuse to cut back what another run did.

    Args:
        path: The state, which nobody else can write now.
        step: Its step when it was looked for; None: there was none.

    Raises:
        ValueError: If it is of another step now.
    """
    found = RunState.read(path).step if path.exists() else None
    if found != step:
        raise ValueError(
            f"{path} is of step {found}, and was of step {step} when it was looked for: "
            "another run was here since. Give the same command again to go on from its end"
        )


def check_same_forces(state: RunState, forces: np.ndarray, folder: Path) -> None:
    """Refuse to go on with another potential.

    Args:
        state: As saved, with forces.
        forces: What the calculator gives at the state's positions, eV/Å.
        folder: For the message.

    Raises:
        ValueError: If they differ by more than rounding.
    """
    difference = float(np.abs(forces - state.forces).max())
    if difference <= _SAME_FORCES * (1.0 + float(np.abs(state.forces).max())):
        return
    raise ValueError(
        f"{folder} was begun with another potential: at step {state.step} the forces "
        f"differ by up to {difference:.3g} eV/Å. Go on with the model that it was begun "
        "with, or give another folder"
    )
