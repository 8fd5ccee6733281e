"""The numbers that define a MACE model: checked, and plain enough for any file format."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from mace_train.elements import ElementTable
from mace_train.model.interaction import InteractionKind
from mace_train.model.irreps import Layout, parsed

DistanceTransform = Literal["none", "agnesi"]
ProductBasisSource = Literal["own", "file"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """All arguments of `MACE`, with numbers that may differ between heads as lists.

    Attributes are documented at `MACE`.

    Raises:
        ValueError: If an argument is out of range or two do not fit together.
    """

    hidden_irreps: str
    max_ell: int
    correlation: int
    num_interactions: int
    r_max: float
    num_radial_basis: int
    cutoff_p: int
    radial_mlp: list[int]
    readout_hidden_irreps: str
    first_interaction: InteractionKind
    interaction: InteractionKind
    distance_transform: DistanceTransform
    pair_repulsion: bool
    atomic_numbers: list[int]
    atomic_energies: list[list[float]]
    avg_num_neighbors: float
    scale: list[float]
    shift: list[float]
    heads: list[str]
    product_basis: ProductBasisSource

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_ranges(self)
        _check_heads(self)
        degrees = self.layout.degrees
        if degrees[-1] > self.max_ell:
            raise ValueError(
                f"hidden_irreps={self.hidden_irreps!r} reaches l={degrees[-1]}, beyond "
                f"max_ell={self.max_ell}: raise max_ell or drop the highest l"
            )
        _ = self.num_readout_hidden

    @property
    def layout(self) -> Layout:
        """Degrees and channels of the node features between layers."""
        return Layout.from_irreps(self.hidden_irreps)

    @property
    def elements(self) -> ElementTable:
        """The elements, in the order of all tables."""
        return ElementTable(tuple(self.atomic_numbers))

    @property
    def num_readout_hidden(self) -> int:
        """Hidden scalars of the last readout."""
        entries = parsed(self.readout_hidden_irreps, "readout_hidden_irreps")
        if len(entries) != 1 or str(entries[0].ir) != "0e" or entries[0].mul < 1:
            raise ValueError(
                f"readout_hidden_irreps={self.readout_hidden_irreps!r} must be scalars, "
                "for example '16x0e'"
            )
        return entries[0].mul

    def as_dict(self) -> dict[str, Any]:
        """The arguments of `MACE`, of types that JSON knows."""
        return asdict(self)


def by_head(numbers: Sequence[float] | float) -> list[float]:
    """A number for each head; a single number stands for one head."""
    return (
        [float(n) for n in numbers] if isinstance(numbers, Sequence) else [float(numbers)]
    )


def energies_by_head(
    energies: Sequence[Sequence[float]] | Sequence[float],
) -> list[list[float]]:
    """E0s as a list of heads of lists of elements; a flat list stands for one head."""
    rows = [row if isinstance(row, Sequence) else None for row in energies]
    if all(row is None for row in rows):
        return [[float(energy) for energy in energies]]  # type: ignore[arg-type]
    return [[float(energy) for energy in row or ()] for row in rows]


def _check_choices(given: Architecture) -> None:
    choices = {
        "first_interaction": InteractionKind,
        "interaction": InteractionKind,
        "distance_transform": DistanceTransform,
        "product_basis": ProductBasisSource,
    }
    for name, literal in choices.items():
        value, allowed = getattr(given, name), get_args(literal)
        if value not in allowed:
            raise ValueError(f"{name}={value!r} must be one of {', '.join(allowed)}")


def _check_ranges(given: Architecture) -> None:
    ranges = {
        "max_ell": (0, 4),
        "correlation": (1, 3),
        "num_interactions": (1, math.inf),
        "num_radial_basis": (1, math.inf),
        "cutoff_p": (3, math.inf),
    }
    for name, (low, high) in ranges.items():
        value = getattr(given, name)
        if not low <= value <= high:
            bounds = f"at least {low}" if high == math.inf else f"{low} to {high}"
            raise ValueError(f"{name}={value} must be {bounds}")
    for name in ("r_max", "avg_num_neighbors"):
        value = getattr(given, name)
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name}={value} must be a positive number")
    if not given.radial_mlp or min(given.radial_mlp) < 1:
        raise ValueError(f"radial_mlp={given.radial_mlp} must list sizes of hidden layers")


def _check_heads(given: Architecture) -> None:
    heads = given.heads
    if not heads or len(set(heads)) != len(heads):
        raise ValueError(f"heads={heads} must be names, at least one and each once")
    shape = [len(row) for row in given.atomic_energies]
    if shape != [len(given.atomic_numbers)] * len(heads):
        raise ValueError(
            f"atomic_energies has {shape} numbers, but there are {len(heads)} heads and "
            f"{len(given.atomic_numbers)} elements"
        )
    for name in ("scale", "shift"):
        if len(getattr(given, name)) != len(heads):
            raise ValueError(
                f"{name}={getattr(given, name)} must have one number for each of the "
                f"{len(heads)} heads {heads}"
            )
