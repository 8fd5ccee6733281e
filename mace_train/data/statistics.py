"""What the model must know of its training frames: E0s, mean neighbors, scale and shift.

All of it comes from sums that the shards keep, so no graph is built, and any split is
cheap.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mace_train.data.e0s import AtomicEnergies, element_counts, find_atomic_energies
from mace_train.data.store import FrameStore
from mace_train.elements import ElementTable

_log = logging.getLogger(__name__)
_ROWS = 20_000


@dataclass(frozen=True)
class Statistics:
    """Numbers of the training frames that become part of the model.

    Attributes:
        avg_num_neighbors: All edges over all atoms, atoms without neighbors included.
        scale: Root mean square of the force components, eV/Å; 1 where there are no forces.
        shift: Mean over frames of (energy - E0s) / atoms, eV; 0 where there are no
            energies.
        atomic_energies: E0s in eV, in the order of the element table.
        determined: Which E0s the source determines.
        e0_source: Where the E0s come from.
        atomic_numbers: The element table.
        num_frames: Training frames.
        num_atoms: Atoms in them.
        num_edges: Directed edges in them.
        atom_counts: Atoms of each element.
        warnings: What a user should know.
    """

    avg_num_neighbors: float
    scale: float
    shift: float
    atomic_energies: Float[np.ndarray, " elements"]
    determined: Bool[np.ndarray, " elements"]
    e0_source: str
    atomic_numbers: tuple[int, ...]
    num_frames: int
    num_atoms: int
    num_edges: int
    atom_counts: Int[np.ndarray, " elements"]
    warnings: tuple[str, ...] = ()

    def table(self) -> str:
        """One line per element: training atoms and E0; ``?`` where it is not determined."""
        symbols = ElementTable(self.atomic_numbers).symbols
        lines = [f"element   atoms        E0 (eV, {self.e0_source})"]
        for symbol, count, energy, known in zip(
            symbols, self.atom_counts, self.atomic_energies, self.determined
        ):
            lines.append(f"{symbol:<7}{count:>8}{energy:>14.6f}{'' if known else ' ?'}")
        return "\n".join(lines)


def compute_statistics(
    store: FrameStore,
    indices: Int[np.ndarray, " frames"],
    *,
    elements: ElementTable,
    r_max: float,
    e0s: str = "least_squares",
) -> Statistics:
    """Statistics of the training frames, always finite.

    Args:
        store: The frames.
        indices: Training frames.
        elements: The model's elements.
        r_max: Cutoff in Å.
        e0s: ``least_squares``, ``isolated_atoms``, ``mp0``, or the path of a JSON file.

    Raises:
        ValueError: If there are no frames, one has an element that is not in the table, or
            an element has no E0.
    """
    indices = np.asarray(indices, np.int64)
    if len(indices) == 0:
        raise ValueError("there are no training frames to compute statistics of")
    energies = find_atomic_energies(store, indices, elements=elements, e0s=e0s)
    num_atoms = int(store.num_atoms[indices].sum())
    num_edges = int(store.edge_counts(r_max)[indices].sum())
    bulk = indices[~store.isolated[indices]]
    shift, atom_counts = _shift_and_counts(store, indices, bulk, elements, energies)
    scale = _force_scale(store, bulk)
    warnings = _warnings(store, indices, elements, energies, num_edges=num_edges)
    for warning in warnings:
        _log.warning(warning)
    return Statistics(
        # The model divides by it, so that frames without any edge must not give 0.
        avg_num_neighbors=num_edges / num_atoms if num_edges else 1.0,
        scale=scale,
        shift=shift,
        atomic_energies=energies.values,
        determined=energies.determined,
        e0_source=e0s,
        atomic_numbers=elements.atomic_numbers,
        num_frames=len(indices),
        num_atoms=num_atoms,
        num_edges=num_edges,
        atom_counts=atom_counts,
        warnings=tuple(warnings),
    )


def _force_scale(store: FrameStore, indices: np.ndarray) -> float:
    """Root mean square of the force components that are labelled."""
    labelled = indices[store.label_presence["forces"][indices]]
    num_components = 3 * int(store.num_atoms[labelled].sum())
    total = float(store.force_square_sums[labelled].sum())
    return float(np.sqrt(total / num_components)) if total > 0 else 1.0


def _shift_and_counts(
    store: FrameStore,
    indices: np.ndarray,
    bulk: np.ndarray,
    elements: ElementTable,
    energies: AtomicEnergies,
) -> tuple[float, np.ndarray]:
    """Mean (energy - E0s) / atoms of the ``bulk`` frames, and atoms per element of all."""
    counted = np.zeros(len(store), bool)
    counted[bulk] = True
    counted &= store.label_presence["energy"]
    total, number = 0.0, int(counted[indices].sum())
    atom_counts = np.zeros(len(elements), np.int64)
    for first in range(0, len(indices), _ROWS):
        part = indices[first : first + _ROWS]
        counts = element_counts(store, part, elements)
        atom_counts += counts.sum(axis=0).astype(np.int64)
        interaction = (store.energies[part] - counts @ energies.values) / store.num_atoms[
            part
        ]
        total += float(interaction[counted[part]].sum())
    return (total / number if number else 0.0), atom_counts


def _warnings(
    store: FrameStore,
    indices: np.ndarray,
    elements: ElementTable,
    energies: AtomicEnergies,
    *,
    num_edges: int,
) -> list[str]:
    warnings = []
    if not store.label_presence["energy"][indices].any():
        warnings.append(
            "no training frame has an energy: E0s by least squares and shift are 0"
        )
    elif not energies.determined.all():
        names = [s for s, known in zip(elements.symbols, energies.determined) if not known]
        warnings.append(
            f"the training frames do not determine the E0s of {', '.join(names)}: the "
            "least-squares solution of least norm is used. Give data.e0s=isolated_atoms, "
            "mp0 or a file if energies of other compositions will be compared"
        )
    if num_edges == 0:
        warnings.append("no training frame has an edge: avg_num_neighbors is set to 1")
    return warnings
