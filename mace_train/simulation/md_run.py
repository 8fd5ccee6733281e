"""`MDRun`: molecular dynamics with any ASE calculator, watched, recorded and restartable.

Floor 3. A step is the thermostat (`thermostats.py`), ASE's velocity Verlet, and a look at
the trip wires (`trip_wires.py`). Forces are handed from step to step and saved with the
state. So a run that goes on computes the same bits as one that was never broken, however it
ended: at its time limit, by Ctrl-C or by a signal that nobody can catch. This needs a
calculator whose forces depend on the structure alone, as those of `MACECalculator` do.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from ase import units
from ase.io import write
from ase.md.verlet import VelocityVerlet

from mace_train.simulation.observables import (
    Observables,
    closest_pair,
    has_company,
    pressure,
)
from mace_train.simulation.progress import RunProgress
from mace_train.simulation.records import HEADER, LOG, TRAJECTORY, Records, labelled_frame
from mace_train.simulation.same_simulation import (
    check_not_overtaken,
    check_same_forces,
    check_same_run,
    settings_as_text,
)
from mace_train.simulation.settings import MDSettings
from mace_train.simulation.state import RunState
from mace_train.simulation.thermostats import (
    count_degrees_of_freedom,
    set_velocities,
    thermalize,
)
from mace_train.simulation.trip_wires import (
    TripWireError,
    TripWires,
    check_finite,
    check_lost,
)

if TYPE_CHECKING:
    from ase import Atoms

    from mace_train.simulation.schedule import TemperatureSchedule

logger = logging.getLogger(__name__)

STATE = "state.npz"
LAST_FRAMES = "last_frames.extxyz"
_SLOWEST = 5.0  # relaxation times; a harmonic crystal takes two, its potential energy too


class MDRun:
    """One run in one folder.

    The folder gets ``log.csv``, ``trajectory.extxyz`` (energies and forces in it),
    ``state.npz``, and ``last_frames.extxyz`` if a wire is tripped. If it holds a state, the
    run goes on from there; a longer schedule that begins the same extends a run.

    Args:
        atoms: With a calculator. Velocities are kept, less the motion of the whole; atoms
            without are given some at the first temperature of the schedule.
        folder: Of this run alone.
        schedule: When which temperature.
        settings: How to integrate and what to write.
        wires: What ends the run.
        save_minutes: Time between states: what is lost at most when the process is killed.
        max_hours: Save and end after this; None: no limit.
        show_bar: See `RunProgress`.

    Raises:
        ValueError: If the folder holds another run or is in use, the atoms have no
            calculator, or velocities are needed and no temperature is known.
    """

    def __init__(
        self,
        atoms: Atoms,
        folder: str | Path,
        schedule: TemperatureSchedule,
        *,
        settings: MDSettings | None = None,
        wires: TripWires | None = None,
        save_minutes: float = 1.0,
        max_hours: float | None = None,
        show_bar: bool | None = None,
    ) -> None:
        if atoms.calc is None:
            raise ValueError("the atoms have no calculator: set atoms.calc first")
        self.atoms = atoms
        self.folder = Path(folder)
        self.schedule = schedule
        self.settings = MDSettings() if settings is None else settings
        self.wires = TripWires() if wires is None else wires
        self._save_minutes, self._max_hours = save_minutes, max_hours
        self._show_bar = show_bar
        self._dof = count_degrees_of_freedom(atoms, self.settings.thermostat)
        self._rng = np.random.default_rng(self.settings.seed)
        self._integrator = VelocityVerlet(atoms, schedule.timestep * units.fs)
        self._step, self._heat, self._saved = 0, 0.0, None
        self._last_frames: deque[Atoms] = deque(maxlen=20)
        if (self.folder / STATE).exists():
            self._sizes = self._go_on(RunState.read(self.folder / STATE))
        else:
            self._sizes = self._begin()

    @property
    def step(self) -> int:
        """Steps done."""
        return self._step

    def run(self) -> Literal["finished", "out of time"]:
        """Run to the end of the schedule, or to the time limit.

        Raises:
            TripWireError: If a wire is tripped; the message says where, why, and what to
                do.
            ValueError: If another process runs in the folder, or has since this was made.
            KeyboardInterrupt: On Ctrl-C; the last state is whole.
        """
        records = Records(self.folder)
        try:
            check_not_overtaken(self.folder / STATE, self._saved)
            records.cut(self._sizes)
            return self._run(records)
        except TripWireError as error:
            raise TripWireError(self._explain(error)) from None
        finally:
            records.close()

    def _run(self, records: Records) -> Literal["finished", "out of time"]:
        began = saved = time.monotonic()
        num_steps = self.schedule.num_steps
        with RunProgress(
            num_steps,
            self._step,
            timestep=self.schedule.timestep,
            show_bar=self._show_bar,
        ) as progress:
            if self._step == 0:
                self._save(records)  # first of all: files without a state are not ours
                self._watch_and_record(records)
            while self._step < num_steps:
                self._advance()
                progress.tell(self._watch_and_record(records))
                now = time.monotonic()
                is_late = (
                    self._max_hours is not None and now - began > 3600 * self._max_hours
                )
                is_done = self._step == num_steps
                if is_done or is_late or now - saved > 60 * self._save_minutes:
                    self._save(records)
                    saved = now
                if is_late and not is_done:
                    return "out of time"
        return "finished"

    def _advance(self) -> None:
        """One step of the thermostat, and one of velocity Verlet."""
        target = self.schedule.target(self._step)
        relaxation = self.settings.relaxation / self.schedule.timestep
        if target is not None:
            self._last_target = target
            keep = math.exp(-1.0 / (_SLOWEST * relaxation))
            self._followed = target + keep * (self._followed - target)
            self._heat += thermalize(
                self.atoms,
                name=self.settings.thermostat,
                temperature=target,
                steps_to_relax=relaxation,
                rng=self._rng,
            )
        self._forces = np.array(self._integrator.step(self._forces))
        self._step += 1

    def _watch_and_record(self, records: Records) -> Observables:
        """Look at the wires; write a row and a frame where they are due."""
        check_finite(self._step, self._time, self.atoms, self._forces)
        seen = self._observe()
        frame = labelled_frame(self.atoms, self._forces, seen)
        self._last_frames.append(frame)
        around = (self._last_target, self._followed)
        self.wires.check(seen, self.atoms, reference=around, dof=self._dof)
        if self._step % self.settings.log_every == 0:
            if self.wires.lost is not None:
                lost = self._company & ~has_company(self.atoms, self.wires.lost)
                check_lost(seen, self.atoms, lost, reach=self.wires.lost)
            records.add_row(seen, pressure(self.atoms))
        if self._step % self.settings.frame_every == 0:
            records.add_frame(frame)
        return seen

    @property
    def _time(self) -> float:
        return 1e-3 * self.schedule.timestep * self._step

    def _observe(self) -> Observables:
        potential = float(self.atoms.get_potential_energy())
        kinetic = float(self.atoms.get_kinetic_energy())
        conserved = potential + kinetic - self._heat
        return Observables(
            step=self._step,
            time=self._time,
            target=self.schedule.target(self._step),
            temperature=2.0 * kinetic / (self._dof * units.kB),
            potential=potential,
            total=potential + kinetic,
            conserved=conserved,
            drift=1000.0 * (conserved - self._begun_with) / len(self.atoms),
            closest=closest_pair(self.atoms),
        )

    def _begin(self) -> tuple[int, int]:
        """Velocities, forces and the energy that drift is counted from."""
        for name in (LOG, TRAJECTORY):
            path = self.folder / name
            if path.is_file() and path.stat().st_size > len(HEADER):
                raise ValueError(
                    f"{self.folder} holds {name} but no {STATE}: it is not the folder of a "
                    "run that can go on; give another folder"
                )
        set_velocities(self.atoms, self.schedule.first_temperature, self._rng)
        self._forces = np.array(self.atoms.get_forces(md=True))
        check_finite(0, 0.0, self.atoms, self._forces)
        kinetic = float(self.atoms.get_kinetic_energy())
        self._begun_with = float(self.atoms.get_potential_energy()) + kinetic
        self._followed = 2.0 * kinetic / (self._dof * units.kB)
        self._last_target = self.schedule.target(0) or self._followed
        self._company = has_company(self.atoms, self.wires.lost or TripWires.lost or 3.0)
        return 0, 0

    def _go_on(self, state: RunState) -> tuple[int, int]:
        """Put everything back as it was when the state was saved."""
        check_same_run(
            state,
            self.atoms,
            settings=settings_as_text(self.settings, self.schedule.timestep),
            schedule=self.schedule,
            folder=self.folder,
        )
        self.atoms.set_positions(state.positions, apply_constraint=False)
        self.atoms.set_momenta(state.momenta, apply_constraint=False)
        check_same_forces(state, self.atoms.get_forces(md=True), self.folder)
        self._forces = state.forces
        self._step, self._heat = state.step, state.heat
        self._begun_with, self._saved = state.begun_with, state.step
        self._last_target, self._followed = state.last_target, state.followed
        self._company = state.company
        self._rng.bit_generator.state = state.rng
        logger.info(
            "%s goes on from step %d (%.4g ps)", self.folder, self._step, self._time
        )
        return state.sizes

    def _save(self, records: Records) -> None:
        atoms, self._sizes = self.atoms, records.settle()
        RunState(
            step=self._step,
            heat=self._heat,
            begun_with=self._begun_with,
            last_target=self._last_target,
            followed=self._followed,
            positions=atoms.get_positions(),
            momenta=atoms.get_momenta(),
            forces=self._forces,
            numbers=atoms.numbers,
            masses=atoms.get_masses(),
            cell=atoms.cell.array,
            pbc=atoms.pbc,
            company=self._company,
            rng=dict(self._rng.bit_generator.state),
            settings=settings_as_text(self.settings, self.schedule.timestep),
            schedule=[str(stage) for stage in self.schedule.stages],
            sizes=self._sizes,
        ).write(self.folder / STATE)
        self._saved = self._step

    def _explain(self, error: TripWireError) -> str:
        """The message of a wire, with the frames that led there and what to do."""
        path = self.folder / LAST_FRAMES
        if self._last_frames:
            write(path, list(self._last_frames), format="extxyz")
        return (
            f"{error}. The potential has left the ground it was trained on, or the "
            f"timestep of {self.schedule.timestep:g} fs is too long. The last "
            f"{len(self._last_frames)} steps are in {path}: look at them, try half the "
            "timestep, and if that is no cure, compute such frames with the reference "
            "method and train on them. TripWires moves or removes a wire"
        )
