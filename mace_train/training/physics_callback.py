"""`PhysicsCallback`: is the model physical while it trains? Six numbers, every few epochs.

Floor 4. The averaged weights are copied into a model of their own, in float64, which rank
zero checks while the others wait for the end of the epoch; nothing that trains is touched.
No rank exchanges anything here.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import lightning
import numpy as np
from ase import Atoms

from mace_train.constraints import PositiveInt
from mace_train.model.backends import chosen_backend
from mace_train.physics.conservation import drift_of, nve_energies
from mace_train.physics.cutoff import cutoff_jumps
from mace_train.physics.dimers import Hole, find_holes, scan_pairs
from mace_train.physics.finite_differences import force_error, stress_error
from mace_train.physics.invariances import rotation_error
from mace_train.physics.limits import LIMITS
from mace_train.physics.pairs import default_pairs
from mace_train.physics.potential import LeftOutError, Potential
from mace_train.physics.structures import build_structures, choose_structures, distorted
from mace_train.training.checked_model import potential_of
from mace_train.training.module import MACEModule
from mace_train.transfer.low_rank import has_updates, merge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mace_train.graph import AtomicGraph
    from mace_train.model.mace import MACE
    from mace_train.physics.setting import Pair

logger = logging.getLogger(__name__)

COLUMNS: dict[str, tuple[str, float]] = {
    "physics/rotation_error": ("eV/Å", LIMITS["float64"].forces),
    "physics/force_fd_error": ("eV/Å", LIMITS["float64"].forces_fd),
    "physics/stress_fd_error": ("eV/Å³", LIMITS["float64"].stress_fd),
    "physics/cutoff_jump": ("eV/Å", LIMITS["float64"].cutoff_forces),
    "physics/dimer_holes": ("pairs", LIMITS["float64"].dimer_holes),
    "physics/nve_drift": ("meV/atom/ps", LIMITS["float64"].nve_drift),
}
"""What is logged: the unit, and the limit beyond which a warning says so."""

_CANDIDATES, _MAX_ATOMS = 20, 16
_DIMER_STEP = 0.1  # Å
_NVE_STEPS = 100
_NAMED_HOLES = 3


class NoCallbacks:
    """Nothing besides what every run does."""

    def start(self) -> list[lightning.Callback]:
        """Callbacks for Lightning."""
        return []


class PhysicsChecks(NoCallbacks):
    """Check the averaged weights while the run trains.

    Args:
        every_epochs: Epochs between two checks.
        temperature: Of the short molecular dynamics, K.
        head: Which head is checked; None: the first.
    """

    def __init__(
        self,
        *,
        every_epochs: PositiveInt = 1,
        temperature: float = 300.0,
        head: str | None = None,
    ) -> None:
        self.every_epochs = every_epochs
        self.temperature = temperature
        self.head = head

    def start(self) -> list[lightning.Callback]:
        """The callback of a run."""
        return [
            PhysicsCallback(
                every_epochs=self.every_epochs,
                temperature=self.temperature,
                head=self.head,
            )
        ]


class PhysicsCallback(lightning.Callback):
    """Fills six columns of an epoch's row; its hook comes before that of `MACEModule`.

    Args:
        every_epochs: Epochs between two checks; the other rows have empty cells.
        temperature: Of the short molecular dynamics, K.
        head: Which head is checked; None: the first.

    Attributes:
        columns: Names in metrics.csv.
    """

    columns = tuple(COLUMNS)

    def __init__(
        self,
        *,
        every_epochs: int = 1,
        temperature: float = 300.0,
        head: str | None = None,
    ) -> None:
        self.every_epochs = every_epochs
        self.temperature = temperature
        self.head = head
        self._atoms: Atoms | None = None
        self._pairs: tuple[Pair, ...] = ()

    def on_fit_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Choose a small training frame, and the pairs of elements.

        Raises:
            ValueError: If the model has no such head.
        """
        assert isinstance(pl_module, MACEModule)
        heads = list(pl_module.model.heads)
        if self.head is not None and self.head not in heads:
            raise ValueError(
                f"callbacks.head={self.head}: the model has no such head, but "
                f"{' | '.join(heads)}"
            )
        if not trainer.is_global_zero:
            return
        numbers = pl_module.model.elements.atomic_numbers
        make_graphs = getattr(trainer.datamodule, "probe_graphs", None)  # type: ignore[attr-defined] - of the trainer
        try:
            self._pairs = default_pairs(numbers)[0]
            graphs = [] if make_graphs is None else make_graphs(_CANDIDATES)
            self._atoms = _small_crystal(graphs, numbers)
        except Exception as error:  # noqa: BLE001 - a check must not end a week of training
            logger.warning(
                "no frame to check the physics on; nothing is checked: %s", error
            )

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Check the weights that were just validated; only rank zero does."""
        assert isinstance(pl_module, MACEModule)
        pl_module.measured = dict.fromkeys(COLUMNS)
        epoch = trainer.current_epoch
        is_due = (epoch + 1) % self.every_epochs == 0
        if self._atoms is None or not is_due:
            return
        began = time.perf_counter()
        measured: dict[str, float | None] = dict.fromkeys(COLUMNS, math.nan)
        holes: list[Hole] = []
        try:
            potential = _potential(pl_module, self.head)
            measured, holes = measure(
                potential, self._atoms, self._pairs, temperature=self.temperature
            )
        except Exception as error:  # noqa: BLE001 - a check must not end a week of training
            logger.warning("epoch %d: the model cannot be checked: %s", epoch, error)
        pl_module.measured = measured
        wrong = _beyond_limits(measured, holes, num_pairs=len(self._pairs))
        if wrong:
            logger.warning("epoch %d is not physical: %s", epoch, "; ".join(wrong))
        formula = self._atoms.get_chemical_formula()
        seconds = time.perf_counter() - began
        logger.info("physics of epoch %d on %s: %.1f s", epoch, formula, seconds)


def measure(
    potential: Potential, atoms: Atoms, pairs: tuple[Pair, ...], *, temperature: float
) -> tuple[dict[str, float | None], list[Hole]]:
    """The six numbers, and the holes that the fifth counts.

    Args:
        potential: What is checked.
        atoms: A small crystal without symmetry.
        pairs: Elements of the dimers.
        temperature: K.

    Returns:
        A number is None where it cannot be measured, and NaN where the potential fails.
    """
    holes: list[Hole] = []

    def count_holes() -> float:
        curves = scan_pairs(potential, pairs, step=_DIMER_STEP)
        holes.extend(sorted(find_holes(curves), key=lambda hole: hole.wall))
        return float(len(holes))

    def drift() -> float:
        start = {"steps": _NVE_STEPS, "temperature": temperature}
        return drift_of(*nve_energies(potential, atoms, **start))

    measures: tuple[Callable[[], float], ...] = (
        lambda: rotation_error(potential, atoms),
        lambda: force_error(potential, atoms, count=3)[0],
        lambda: stress_error(potential, atoms, components=3)[0],
        lambda: float(np.max([jumps[1] for jumps in cutoff_jumps(potential, pairs)])),
        count_holes,
        drift,
    )
    return {name: _value(one) for name, one in zip(COLUMNS, measures)}, holes


def _value(measure_one: Callable[[], float]) -> float | None:
    try:
        return measure_one()
    except LeftOutError:
        return None
    except Exception as error:  # noqa: BLE001 - a check must not end a week of training
        logger.warning("a check of the physics failed: %s", error)
        return math.nan


def _potential(module: MACEModule, head: str | None) -> Potential:
    """A copy of the model with the averaged weights, in float64."""
    model: MACE = module.model
    model = merge(model) if has_updates(model) else copy.deepcopy(model)
    if module.averaged is not None:
        model.load_state_dict(module.averaged.model_state())
    model.requires_grad_(False)
    device = next(model.parameters()).device
    model.backend = chosen_backend(model.backend, device)  # else a GPU would compile it
    return potential_of(model.double(), head=head or model.heads[0])


def _beyond_limits(
    measured: dict[str, float | None], holes: list[Hole], *, num_pairs: int
) -> list[str]:
    """What is wrong, in words."""
    wrong = []
    for name, (unit, limit) in COLUMNS.items():
        value = measured[name]
        if value is None or value <= limit:
            continue
        if name == "physics/dimer_holes" and holes:
            named = ", ".join(str(hole) for hole in holes[:_NAMED_HOLES])
            wrong.append(f"{len(holes)} of {num_pairs} dimers have holes ({named})")
        else:
            wrong.append(f"{name} {value:.2g} {unit} (limit {limit:g})")
    return wrong


def _small_crystal(graphs: Iterable[AtomicGraph], numbers: Sequence[int]) -> Atoms:
    """A small crystal without symmetry: one of the graphs, else one that is built."""
    frames = map(_atoms_of, graphs)
    crystals = [a for a in frames if a.pbc.all() and len(a) <= _MAX_ATOMS]
    return distorted(choose_structures(crystals or build_structures(numbers))[0])


def _atoms_of(graph: AtomicGraph) -> Atoms:
    return Atoms(
        graph.atomic_numbers.numpy(),
        graph.positions.double().numpy(),
        cell=graph.cell[0].double().numpy(),
        pbc=graph.pbc[0].numpy(),
    )
