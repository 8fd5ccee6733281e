"""E0s of a fine-tuned model: where energies of the user's frames have their zero.

Floor 5. Another code, functional or set of pseudopotentials shifts the energy of each atom,
by up to a thousand eV. Least squares on what the parent's energies lack finds that shift,
so that training does not have to.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from mace_train.data.e0s import element_counts, find_atomic_energies
from mace_train.data.mixed_store import MixedStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float, Int

    from mace_train.data.dataset import GraphDataset
    from mace_train.model.mace import MACE

logger = logging.getLogger(__name__)

LARGE_OFFSET = 0.1
"""From here on, eV/atom (rms), labels and energies of a model are said to differ."""

_SMALLEST_SPREAD = 1e-6  # below it, compositions differ by rounding alone
_DETERMINED = 0.1  # eV: largest standard error of an E0 that is told
_USUAL_NOISE = 0.02  # eV/atom: counts as one frame where few frames tell the noise
_CLEARLY = 3.0
_OTHER_ATOMS = (
    "If these are energies of single atoms, of the same code and settings as your frames, "
    "then the parent binds atoms by another amount. "
)
_BATCH = 16


@dataclass(frozen=True)
class ReferenceEnergies:
    """Old and new E0s, in the order of the model's elements.

    Attributes:
        symbols: Of the elements.
        parent: E0s of the parent, eV.
        new: E0s of the model that is trained, eV.
        num_frames: The user's frames with an energy that hold the element.
        determined: Whether the source tells the E0 of this element by itself, to 0.1 eV.
        source: ``estimated``, ``isolated_atoms``, ``parent`` or a file.
        offset_before: Root mean square over frames of (label - parent's energy) / atoms,
            eV; NaN where there are no energies.
        offset_after: The same with the new E0s.
        offset_best: The same with those of least squares.
        has_isolated_atoms: Whether the user's files hold energies of single atoms.
    """

    symbols: tuple[str, ...]
    parent: Float[np.ndarray, " elements"]
    new: Float[np.ndarray, " elements"]
    num_frames: Int[np.ndarray, " elements"]
    determined: Bool[np.ndarray, " elements"]
    source: str
    offset_before: float
    offset_after: float
    offset_best: float
    has_isolated_atoms: bool = False

    @property
    def is_other_reference(self) -> bool:
        """Whether the energies of parent and data plainly have different zeros."""
        is_large = self.offset_before > LARGE_OFFSET
        return is_large and self.offset_best < self.offset_before / _CLEARLY

    def table(self) -> str:
        """A line for each element of the user's frames."""
        if not self.num_frames.any():
            return "your frames have no energies: all E0s are the parent's"
        head = f"{'element':<8}{'frames':>8}{'parent (eV)':>14}{'new (eV)':>14}"
        lines = [f"{head}{'change':>11}  determined ({self.source})"]
        for row in np.flatnonzero(self.num_frames):
            old, new = self.parent[row], self.new[row]
            lines.append(
                f"{self.symbols[row]:<8}{self.num_frames[row]:>8}{old:>14.6f}{new:>14.6f}"
                f"{new - old:>+11.4f}  {'yes' if self.determined[row] else 'no'}"
            )
        rest = int((self.num_frames == 0).sum())
        if rest:
            lines.append(
                f"not in your frames: {rest} of the elements, which keep their E0s"
            )
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, of the elements in the user's frames."""
        rows = np.flatnonzero(self.num_frames).tolist()
        by_element = {
            self.symbols[row]: {
                "parent": float(self.parent[row]),
                "new": float(self.new[row]),
                "frames": int(self.num_frames[row]),
                "determined": bool(self.determined[row]),
            }
            for row in rows
        }
        known = np.isfinite(self.offset_before)
        return {
            "source": self.source,
            "elements": by_element,
            "offset_before": float(self.offset_before) if known else None,
            "offset_after": float(self.offset_after) if known else None,
        }

    def tell(self) -> None:
        """Log the table, and whether the references of energy plainly differ."""
        logger.info("\n%s\n", self.table())
        if np.isfinite(self.offset_before):
            logger.info(
                "the parent's energies differ from the labels by %.4f eV/atom (rms), with "
                "the new E0s by %.4f",
                self.offset_before,
                self.offset_after,
            )
        rows = zip(self.symbols, self.num_frames, self.determined)
        unclear = [symbol for symbol, count, is_told in rows if count and not is_told]
        if unclear:
            logger.warning(
                "the compositions of your frames do not tell the E0s of %s one by one: "
                "energies of other compositions than theirs are not to be compared (%s)",
                ", ".join(unclear),
                "your files hold isolated atoms: finetune.e0s=isolated_atoms takes these"
                if self.has_isolated_atoms
                else "finetune.e0s=isolated_atoms or a file settles them",
            )
        if self.is_other_reference:
            self._tell_of_other_reference()
        is_best = self.source == "estimated" or not self.is_other_reference
        if is_best and self.offset_after > LARGE_OFFSET:
            logger.warning(
                "labels and the parent's energies differ by %.3g eV/atom with these E0s, "
                "and others would not take that up: look for frames of several codes or "
                "settings in one set, another energy than meant (data.energy_key) or other "
                "units (data.units.energy)",
                self.offset_after,
            )

    def _tell_of_other_reference(self) -> None:
        what = (
            "your energies and the parent's plainly have different zeros (another code, "
            f"functional or set of pseudopotentials): {self.offset_before:.3g} eV/atom"
        )
        if self.source == "estimated":
            logger.warning("%s; the new E0s take that up", what)
        elif self.offset_after > LARGE_OFFSET:
            logger.warning(
                "%s, and %.3g eV/atom are left with finetune.e0s=%s: training would spend "
                "its steps on that. %sSet finetune.e0s=estimated",
                what,
                self.offset_after,
                self.source,
                "" if self.source == "parent" else _OTHER_ATOMS,
            )


def find_reference_energies(
    parent: MACE,
    graphs: GraphDataset,
    *,
    e0s: str,
    progress: Callable[[int, int], None] | None = None,
) -> ReferenceEnergies:
    """E0s from the source that the user chose.

    Args:
        parent: With one head and the elements of the model that is trained.
        graphs: Some of the user's training frames, built for it.
        e0s: ``estimated``, ``isolated_atoms``, ``parent``, or the path of a JSON file.
        progress: Called with frames predicted and in all.

    Raises:
        ValueError: If an element of the frames has no energy in that source.
    """
    elements, store = parent.elements, graphs.store
    old = np.asarray(parent.hyperparameters["atomic_energies"], np.float64).reshape(-1)
    used = graphs.indices[store.label_presence["energy"][graphs.indices]]
    counts = element_counts(store, used, elements)
    present = (counts > 0).any(axis=0)
    num_atoms = np.maximum(counts.sum(axis=1), 1)
    lacking = np.zeros(0)
    if len(used):
        lacking = (
            store.energies[used] - _energies(parent, graphs, used, progress) - counts @ old
        )
    change, determined = estimated = _estimated(counts, lacking, num_atoms)
    if e0s == "parent":
        change, determined = np.zeros(len(old)), np.ones(len(old), bool)
    elif e0s != "estimated":
        change, determined = _from_source(graphs, old, e0s=e0s)
    return ReferenceEnergies(
        symbols=tuple(elements.symbols),
        parent=old,
        new=old + change,
        num_frames=np.where(present, (counts > 0).sum(axis=0), 0),
        determined=determined,
        source=e0s,
        offset_before=_rms(lacking / num_atoms),
        offset_after=_rms((lacking - counts @ change) / num_atoms),
        offset_best=_rms((lacking - counts @ estimated[0]) / num_atoms),
        has_isolated_atoms=bool((store.isolated & store.label_presence["energy"]).any()),
    )


def _energies(
    parent: MACE,
    graphs: GraphDataset,
    places: np.ndarray,
    progress: Callable[[int, int], None] | None,
) -> np.ndarray:
    """What the parent adds to its E0s, eV, of the frames at some places of the store."""
    rows = {int(place): row for row, place in enumerate(graphs.indices)}
    was_training = parent.training
    parent.eval()
    loader = DataLoader(
        graphs,
        batch_sampler=[
            [rows[int(place)] for place in places[first : first + _BATCH]]
            for first in range(0, len(places), _BATCH)
        ],
        collate_fn=graphs.collate,
        generator=torch.Generator().manual_seed(0),  # leaves the global state alone
    )
    found = []
    with torch.no_grad():
        for graph in loader:  # replayed frames name the second head of the new model
            graph = replace(graph, head=torch.zeros_like(graph.head))
            said = parent(graph, compute_forces=False)
            found.append(said.interaction_energy.double().numpy())
            if progress is not None:
                progress(sum(map(len, found)), len(places))
    parent.train(was_training)
    return np.concatenate(found)


def _estimated(
    counts: np.ndarray, lacking: np.ndarray, num_atoms: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Least squares on energies per atom, and which elements' changes it tells.

    Frames tell the changes along some directions (sums of E0s) well, and along others not
    at all: there the change is that of least norm. Between the two, where the standard
    error is large, a change counts as far as it exceeds three of them, so that noise moves
    no E0, but a dilute element with a large change is found.
    """
    num_frames, num_elements = counts.shape
    if not num_frames:
        return np.zeros(num_elements), np.zeros(num_elements, bool)
    fractions, target = counts / num_atoms[:, None], lacking / num_atoms
    left, singular, directions = np.linalg.svd(fractions, full_matrices=True)
    rank = int((singular > _SMALLEST_SPREAD * singular.max()).sum())
    left, singular, told = left[:, :rank], singular[:rank], directions[:rank]
    projected = left.T @ target
    residual = target - left @ projected
    noise = np.sqrt((residual @ residual + _USUAL_NOISE**2) / (num_frames - rank + 1))
    changes, errors = projected / singular, noise / singular
    doubtful = _CLEARLY * errors
    excess = 1 - (doubtful / np.maximum(np.abs(changes), doubtful)) ** 2
    changes *= np.where(errors < _DETERMINED, 1.0, excess)
    error_by_element = np.linalg.norm(told * errors[:, None], axis=0)
    free = np.linalg.norm(directions[rank:], axis=0)
    return told.T @ changes, (free < 1e-6) & (error_by_element < _DETERMINED)


def _from_source(
    graphs: GraphDataset, old: np.ndarray, *, e0s: str
) -> tuple[np.ndarray, np.ndarray]:
    """Changes towards E0s that stand in the data or a file, for the frames' elements."""
    store, elements = graphs.store, graphs.elements
    if isinstance(store, MixedStore) and len(store.heads) > 1:
        store, _ = store.of_head(0, np.arange(len(store)))
    held = {int(number) for number in store.atomic_numbers}
    table = type(elements).containing(held)
    try:
        found = find_atomic_energies(store, np.arange(len(store)), elements=table, e0s=e0s)
    except ValueError as error:
        text = str(error).replace("data.e0s", "finetune.e0s")
        raise ValueError(text.replace("least_squares", "estimated")) from error
    change, determined = np.zeros(len(old)), np.zeros(len(old), bool)
    rows = elements.index_of(np.array(table.atomic_numbers))
    change[rows], determined[rows] = found.values - old[rows], True
    return change, determined


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")
