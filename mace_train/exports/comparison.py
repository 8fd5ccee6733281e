"""Does an exported file predict what its model predicts? Structures, deviations, a table.

Floor 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.data import covalent_radii

from mace_train.checkpoints.probes import Probes, choose_probe_frames
from mace_train.exports.export_format import FramePrediction, Tolerance
from mace_train.graph import AtomicGraph
from mace_train.model.mace import MACE

MAX_STORED = 20
"""Stored frames that are predicted again: enough for what an export can get wrong."""

_UNIT_BY_QUANTITY = {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å^3"}


@dataclass(frozen=True)
class Comparison:
    """Largest deviations of a file from its model, and what is allowed.

    Attributes:
        num_frames: Structures compared.
        num_elements: Elements among them.
        deviation: By quantity: eV, eV/Å, eV/Å^3; None where the file gives none.
        allowed: By quantity.
        largest: By quantity, the largest value that the model predicts.
        worst_frame: By quantity, what the frame with the largest deviation is.
    """

    num_frames: int
    num_elements: int
    deviation: dict[str, float | None]
    allowed: dict[str, float]
    largest: dict[str, float]
    worst_frame: dict[str, str]

    @property
    def problems(self) -> list[str]:
        """What differs by more than is allowed; NaN does."""
        return [
            f"{name} differ by {value:.3g} {_UNIT_BY_QUANTITY[name]} in "
            f"{self.worst_frame[name]} (allowed: {self.allowed[name]:.3g})"
            for name, value in self.deviation.items()
            if value is not None and not value <= self.allowed[name]
        ]

    def table(self) -> str:
        """The deviations as lines of text, for a person."""
        rows = [f"{'':<16}{'deviation':>12}{'allowed':>12}{'largest value':>16}"]
        for name, unit in _UNIT_BY_QUANTITY.items():
            value = self.deviation[name]
            shown = "not given" if value is None else f"{value:.2e}"
            allowed, largest = f"{self.allowed[name]:.2e}", f"{self.largest[name]:.4g}"
            rows.append(f"{f'{name} ({unit})':<16}{shown:>12}{allowed:>12}{largest:>16}")
        return "\n".join(rows)


def comparison_graphs(model: MACE, probes: Probes | None) -> list[AtomicGraph]:
    """Structures to compare on, in float64: all elements and heads of a model.

    Stored frames come first; for elements that they lack, and if there are none, crystals
    and molecules are made.

    Args:
        model: Its elements, cutoff and heads.
        probes: Frames of its model file, or None.
    """
    stored = [] if probes is None else probes.graphs(model)
    chosen = choose_probe_frames([g.atomic_numbers.numpy() for g in stored], MAX_STORED)
    graphs = [stored[place] for place in chosen]
    covered = {int(number) for graph in graphs for number in graph.atomic_numbers}
    missing = [number for number in model.elements.atomic_numbers if number not in covered]
    made = _made_crystals(missing, model.r_max) if missing else []
    made += _made_molecules(list(model.elements.atomic_numbers), model.r_max)
    graphs += [
        AtomicGraph.from_atoms(atoms, elements=model.elements, r_max=model.r_max)
        for atoms in made
    ]
    num_heads = len(model.heads)
    heads = [torch.tensor([place % num_heads]) for place in range(len(graphs))]
    rest = range(len(graphs), num_heads)  # where there are more heads than frames
    graphs = [replace(graph, head=head) for graph, head in zip(graphs, heads)]
    return graphs + [replace(graphs[0], head=torch.tensor([head])) for head in rest]


def predict_model(model: MACE, graphs: Sequence[AtomicGraph]) -> list[FramePrediction]:
    """What a model says about graphs of one structure each, in the model's dtype."""
    dtype = next(model.parameters()).dtype
    predictions = []
    for graph in graphs:
        is_crystal = bool(graph.pbc.all())
        said = model(graph.to("cpu", dtype), compute_stress=is_crystal, create_graph=False)
        stress = said.stress[0].detach().double().numpy() if is_crystal else None
        predictions.append(
            FramePrediction(
                energy=float(said.energy.double()),
                forces=said.forces.detach().double().numpy(),
                stress=stress,
            )
        )
    return predictions


def compare(
    graphs: Sequence[AtomicGraph],
    expected: Sequence[FramePrediction],
    found: Sequence[FramePrediction],
    *,
    tolerance: Tolerance,
) -> Comparison:
    """Hold a file's predictions against those of its model.

    Args:
        graphs: The structures, which give the names of frames.
        expected: The model's predictions.
        found: The file's.
        tolerance: Scaled by the largest value of the quantity that the model predicts.
    """
    deviation: dict[str, float | None] = dict.fromkeys(_UNIT_BY_QUANTITY)
    largest = dict.fromkeys(_UNIT_BY_QUANTITY, 0.0)
    worst_frame = dict.fromkeys(_UNIT_BY_QUANTITY, "")
    for place, (graph, ours, theirs) in enumerate(
        zip(graphs, expected, found, strict=True)
    ):
        for name in _UNIT_BY_QUANTITY:
            value, other = getattr(ours, name), getattr(theirs, name)
            if value is None:
                continue
            largest[name] = max(largest[name], float(np.abs(value).max(initial=0.0)))
            if other is None:
                assert name == "stress"
                continue
            assert np.shape(other) == np.shape(value), f"{name} of frame {place}"
            here = float(np.abs(np.subtract(other, value)).max(initial=0.0))
            before = deviation[name]
            if before is None or here > before or np.isnan(here):
                deviation[name] = here
                worst_frame[name] = f"frame {place} ({_formula(graph)})"
    return Comparison(
        num_frames=len(graphs),
        num_elements=len({int(n) for graph in graphs for n in graph.atomic_numbers}),
        deviation=deviation,
        allowed={
            name: tolerance.absolute + tolerance.relative * size
            for name, size in largest.items()
        },
        largest=largest,
        worst_frame=worst_frame,
    )


def _made_crystals(atomic_numbers: Sequence[int], r_max: float) -> list[Atoms]:
    """Rattled crystals of rock salt, two elements each, at distances of covalent bonds."""
    frames = []
    pairs = zip(atomic_numbers[::2], [*atomic_numbers[1::2], atomic_numbers[-1]])
    for seed, pair in enumerate(pairs):
        crystal = bulk("NaCl", "rocksalt", 2.1 * _bond(pair, r_max))
        crystal.set_atomic_numbers(pair)
        crystal.rattle(0.1, seed=seed)
        strain = np.random.default_rng(seed).normal(0.0, 0.03, (3, 3))
        crystal.set_cell(crystal.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        frames.append(crystal)
    return frames


def _made_molecules(atomic_numbers: Sequence[int], r_max: float) -> list[Atoms]:
    """A bent triatomic molecule, a slab of it, and a lone atom: other boundaries."""
    ends = [atomic_numbers[0], atomic_numbers[len(atomic_numbers) // 2]]
    bond = _bond(ends, r_max)
    bent = molecule("H2O")
    bent.set_atomic_numbers([ends[1], ends[0], ends[0]])
    bent.positions *= bond / bent.get_distance(0, 1)
    slab = bent.copy()
    slab.set_cell([3.0 * bond, 3.0 * bond, 20.0])
    slab.pbc = (True, True, False)
    return [bent, slab, Atoms(numbers=[atomic_numbers[-1]], positions=[[0.0, 0.0, 0.0]])]


def _bond(pair: Sequence[int], r_max: float) -> float:
    """A distance at which two elements see each other, Å: that of a covalent bond."""
    length = sum(max(float(covalent_radii[number]), 0.5) for number in pair)
    return min(length, 0.6 * r_max)


def _formula(graph: AtomicGraph) -> str:
    return Atoms(numbers=graph.atomic_numbers.numpy()).get_chemical_formula()
