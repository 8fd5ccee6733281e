"""Probe frames: structures that travel with a model, and what the model said about them.

Any copy, conversion, library version or machine can be checked against them, without the
data that the model was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase import Atoms
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mace_train.graph import AtomicGraph
from mace_train.model.mace import MACE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_PREFIX = "probe."


@dataclass(frozen=True)
class Probes:
    """Structures one after another, with a model's predictions in float64.

    Attributes:
        atomic_numbers: 1..118.
        positions: Å.
        cell: Lattice vectors in rows, Å.
        pbc: Which lattice vectors are periodic.
        num_atoms: Atoms of each structure.
        head: Which head predicted each structure.
        energy: eV.
        forces: eV/Å.
        stress: eV/Å^3; compared only where a structure is periodic in three directions.
    """

    atomic_numbers: Int[Tensor, " nodes"]
    positions: Float[Tensor, "nodes 3"]
    cell: Float[Tensor, "graphs 3 3"]
    pbc: Bool[Tensor, "graphs 3"]
    num_atoms: Int[Tensor, " graphs"]
    head: Int[Tensor, " graphs"]
    energy: Float[Tensor, " graphs"]
    forces: Float[Tensor, "nodes 3"]
    stress: Float[Tensor, "graphs 3 3"]

    def to_tensors(self) -> dict[str, Tensor]:
        """The probes as named tensors for a model file."""
        return {f"{_PREFIX}{f.name}": getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_tensors(
        cls, tensors: dict[str, Tensor]
    ) -> tuple[Probes | None, dict[str, Tensor]]:
        """Take the probes, if any, out of the tensors of a model file.

        Returns:
            The probes and the tensors that are left.

        Raises:
            ValueError: If the probes are incomplete.
        """
        rest = {
            name: value for name, value in tensors.items() if not name.startswith(_PREFIX)
        }
        if len(rest) == len(tensors):
            return None, rest
        names = [f.name for f in fields(cls)]
        missing = [name for name in names if f"{_PREFIX}{name}" not in tensors]
        if missing:
            raise ValueError(f"its probe frames lack {', '.join(missing)}")
        return cls(**{name: tensors[f"{_PREFIX}{name}"] for name in names}), rest

    def structures(self) -> list[Atoms]:
        """The structures for ASE, without what was predicted."""
        return [
            Atoms(
                self.atomic_numbers[part].numpy(),
                self.positions[part].numpy(),
                cell=self.cell[place].numpy(),
                pbc=self.pbc[place].numpy(),
            )
            for place, part in enumerate(self._parts())
        ]

    def graphs(self, model: MACE) -> list[AtomicGraph]:
        """The structures as graphs for a model; neighbors are found anew.

        Raises:
            ValueError: If the model does not know an element.
        """
        return [
            AtomicGraph.from_arrays(
                self.positions[part].numpy(),
                self.atomic_numbers[part].numpy(),
                cell=self.cell[place].numpy(),
                pbc=self.pbc[place].numpy(),
                elements=model.elements,
                r_max=model.r_max,
                head=int(self.head[place]),
            )
            for place, part in enumerate(self._parts())
        ]

    def _parts(self) -> list[slice]:
        """Atoms of each structure."""
        counts = self.num_atoms.tolist()
        return [slice(end - count, end) for end, count in zip(np.cumsum(counts), counts)]


@dataclass(frozen=True)
class Deviations:
    """Largest differences between stored and recomputed predictions.

    Attributes:
        energy_per_atom: eV/atom.
        forces: eV/Å, of one component.
        stress: eV/Å^3, of one component.
        num_frames: Structures compared.
    """

    energy_per_atom: float
    forces: float
    stress: float
    num_frames: int


def make_probes(model: MACE, graphs: Sequence[AtomicGraph]) -> Probes:
    """Predict structures with a model and keep both.

    Args:
        model: Its state is left as it is; predictions are made in its own dtype.
        graphs: One structure each.

    Raises:
        ValueError: If there is none, or one holds several structures.
    """
    if not graphs or any(graph.num_graphs != 1 for graph in graphs):
        raise ValueError("probe frames must be a list of graphs of one structure each")
    given = [graph.to("cpu", torch.float64) for graph in graphs]
    energy, forces, stress = _predict(model, given)
    return Probes(
        atomic_numbers=torch.cat([graph.atomic_numbers for graph in given]),
        positions=torch.cat([graph.positions for graph in given]),
        cell=torch.cat([graph.cell for graph in given]),
        pbc=torch.cat([graph.pbc for graph in given]),
        num_atoms=torch.tensor([graph.num_nodes for graph in given]),
        head=torch.cat([graph.head for graph in given]),
        energy=energy,
        forces=forces,
        stress=stress,
    )


def compare_with_probes(model: MACE, probes: Probes) -> Deviations:
    """Predict probe frames again and report the largest deviations.

    Raises:
        ValueError: If the model does not know an element of the frames.
    """
    energy, forces, stress = _predict(model, probes.graphs(model))
    periodic = probes.pbc.all(dim=1)
    return Deviations(
        energy_per_atom=_largest((energy - probes.energy) / probes.num_atoms),
        forces=_largest(forces - probes.forces),
        stress=_largest((stress - probes.stress)[periodic]),
        num_frames=len(probes.num_atoms),
    )


def choose_probe_frames(
    atomic_numbers: Sequence[NDArray[np.integer]], count: int = 50
) -> list[int]:
    """Choose frames that show many elements and all sizes.

    The rarest elements come first, each with the smallest frame that has it; what is left
    is spread evenly over the number of atoms. The choice depends on nothing but its
    arguments.

    Args:
        atomic_numbers: Those of each frame.
        count: How many frames at most.

    Returns:
        Places in the given sequence, ascending.

    >>> choose_probe_frames([np.array([14]), np.array([8, 14]), np.array([14, 14])], 2)
    [0, 1]
    """
    sizes = np.array([len(numbers) for numbers in atomic_numbers], dtype=np.int64)
    by_size = np.argsort(sizes, kind="stable")
    frames_by_element: dict[int, list[int]] = {}
    for frame in by_size:
        for number in np.unique(atomic_numbers[frame]):
            frames_by_element.setdefault(int(number), []).append(int(frame))
    rarest_first = sorted(frames_by_element, key=lambda n: (len(frames_by_element[n]), n))
    chosen: dict[int, None] = {}
    covered: set[int] = set()
    for number in rarest_first:
        if number not in covered and len(chosen) < count:
            frame = frames_by_element[number][0]
            chosen[frame] = None
            covered.update(atomic_numbers[frame].tolist())
    rest = [int(frame) for frame in by_size if int(frame) not in chosen]
    wanted = min(count - len(chosen), len(rest))
    if wanted > 0:
        places = np.linspace(0, len(rest) - 1, wanted).round().astype(int)
        chosen.update(dict.fromkeys(rest[place] for place in places))
    return sorted(chosen)


def _predict(model: MACE, graphs: Sequence[AtomicGraph]) -> tuple[Tensor, Tensor, Tensor]:
    """Energies, forces and stresses in float64 on the CPU, one structure at a time."""
    parameter = next(model.parameters())
    predictions = [
        model(
            graph.to(parameter.device, parameter.dtype),
            compute_stress=True,
            create_graph=False,
        )
        for graph in graphs
    ]
    return tuple(
        torch.cat([getattr(p, name).detach() for p in predictions]).to("cpu", torch.float64)
        for name in ("energy", "forces", "stress")
    )  # type: ignore[return-value]


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max()) if difference.numel() else 0.0
