"""`GivenPotential`: what ``mace-check`` is to check, on which structures and pairs.

Floor 6.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ase.io
import torch
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from mace_train.checkpoints.model_file import load_model, read_probes
from mace_train.cli.given_calculator import chosen_device, chosen_head, make_calculator
from mace_train.cli.problems import ConfigError, Problem
from mace_train.physics.pairs import all_pairs, default_pairs
from mace_train.physics.potential import Potential
from mace_train.physics.structures import build_structures, choose_structures
from mace_train.training.checked_model import potential_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mace_train.model.backends import Backend
    from mace_train.physics.potential import Dtype
    from mace_train.physics.setting import Pair

logger = logging.getLogger(__name__)

_COMMAND = "mace-check"


@dataclass(frozen=True)
class GivenPotential:
    """What is checked.

    Attributes:
        potential: The calculator with what it does not say of itself.
        structures: A few small ones.
        origin: Where the structures come from.
        pairs: Atomic numbers of the dimers.
        pairs_note: Why these, where it has to be said.
        device: Where it computes.
        are_built: Whether the structures were made up.
        backend: Of the model.
        has_repulsion: Whether the model has the repulsion of nuclei.
    """

    potential: Potential
    structures: tuple[Atoms, ...]
    origin: str
    pairs: tuple[Pair, ...]
    pairs_note: str
    device: torch.device
    are_built: bool = False
    backend: Backend = "plain"
    has_repulsion: bool = False

    def describe(self) -> str:
        """One line for the log."""
        formulas = ", ".join(atoms.get_chemical_formula() for atoms in self.structures)
        return f"in {self.potential.dtype} on {formulas} ({self.origin})"


def given_potential(config: dict[str, Any]) -> GivenPotential:
    """Load or build what the config names.

    Raises:
        ConfigError: If the calculator cannot be made, or the head or an element is not one
            of the model's.
        ValueError: If a file cannot be read, or holds an element unknown to the model.
    """
    device = chosen_device(config["device"], command=_COMMAND)
    backend: Backend = "plain"
    has_repulsion = False
    if config["checkpoint"]:
        path = Path(config["checkpoint"])
        dtype = None if config["dtype"] == "auto" else config["dtype"]
        model = load_model(path, device=device, dtype=dtype).requires_grad_(False)
        head = chosen_head(list(model.heads), config["head"], command=_COMMAND)
        potential = potential_of(model, head=head)
        known, backend = list(model.elements.atomic_numbers), model.backend
        has_repulsion = bool(model.hyperparameters["pair_repulsion"])
        frames = _probe_frames(path)
    else:
        potential = _potential_of_calculator(config)
        known, frames = [], []
    asked = _asked_elements(config, known)
    frames, origin = _frames(config, frames, known)
    present = sorted({int(number) for atoms in frames for number in atoms.numbers})
    are_built = not frames
    if are_built:
        structures, origin = build_structures(asked or known), "crystals built for it"
    else:
        structures = choose_structures(frames)
    pairs, note = (all_pairs(asked), "") if asked else default_pairs(present or known)
    return GivenPotential(
        potential,
        tuple(structures),
        origin,
        pairs,
        note,
        device,
        are_built=are_built,
        backend=backend,
        has_repulsion=has_repulsion,
    )


def _potential_of_calculator(config: dict[str, Any]) -> Potential:
    calculator = make_calculator(config["calculator"], command=_COMMAND)
    dtype: Dtype = "float32"
    if config["dtype"] != "auto":
        dtype = config["dtype"]
    else:
        logger.info(
            "limits of float32; a calculator that computes in float64: dtype=float64"
        )
    return Potential(
        calculator,
        r_max=config["r_max"],
        num_interactions=config["num_interactions"],
        dtype=dtype,
    )


def _probe_frames(path: Path) -> list[Atoms]:
    """Training frames that a model file carries along; none of another file."""
    probes = read_probes(path)
    return [] if probes is None else probes.structures()


def _frames(
    config: dict[str, Any], probes: list[Atoms], known: Sequence[int]
) -> tuple[list[Atoms], str]:
    """Structures of the user's file, or the probe frames, and where they come from."""
    if config["structure"] is None:
        return probes, "probe frames of the model file"
    path = config["structure"]
    try:
        read = ase.io.iread(path, ":")
        frames = [atoms for atoms in read if isinstance(atoms, Atoms) and len(atoms)]
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"structure={path} cannot be read: {reason}") from error
    if not frames:
        raise ValueError(f"structure={path} holds no atoms")
    unknown = {int(n) for atoms in frames for n in atoms.numbers} - set(known)
    if known and unknown:
        raise ValueError(
            f"structure={path} holds {_symbols(unknown)}, which the model does not know. "
            f"It knows {_symbols(known)}"
        )
    return frames, str(path)


def _asked_elements(config: dict[str, Any], known: Sequence[int]) -> list[int]:
    """Elements that ``elements`` names; none for ``auto``."""
    asked = config["elements"]
    if asked == "auto":
        if not known and config["structure"] is None:
            cure = "structure=FILE, or elements=[Si,O], of which crystals are built"
            problem = Problem("structure", f"must be given for a calculator: {cure}")
            raise ConfigError([problem], _COMMAND)
        return []
    if asked == "all":
        if not known:
            what = "a calculator does not say its elements; name them: elements=[Si,O]"
            raise ConfigError([Problem("elements", what)], _COMMAND)
        return list(known)
    numbers = [one if isinstance(one, int) else atomic_numbers[one] for one in asked]
    unknown = set(numbers) - set(known)
    if known and unknown:
        what = f"the model does not know {_symbols(unknown)}; it knows {_symbols(known)}"
        raise ConfigError([Problem("elements", what)], _COMMAND)
    return numbers


def _symbols(numbers: Sequence[int] | set[int]) -> str:
    return ", ".join(chemical_symbols[number] for number in sorted(numbers))
