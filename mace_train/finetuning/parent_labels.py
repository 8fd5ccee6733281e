"""Labels that the parent itself gives: for replay frames, and for the guard.

Floor 5. Such labels cost no electronic-structure calculation, and by construction have the
level of theory that the parent has learned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from ase.io.extxyz import write_xyz

from mace_train.data.cache import open_store
from mace_train.data.labels import LabelKeys
from mace_train.data.sources import expand_sources, is_shard
from mace_train.graph import AtomicGraph
from mace_train.training.frame_set import FrameSet
from mace_train.training.predictions import FramePrediction
from mace_train.training.whole_file import finish_file, partial_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mace_train.elements import ElementTable
    from mace_train.model.mace import MACE

    Progress = Callable[[int, int | None], None]

_MAX_EDGES = 20_000  # of a batch: enough to be fast, and small in memory
_DECIMALS = 8  # of the positions in extended XYZ as ASE writes it


def write_parent_labels(
    path: Path,
    structures: Sequence[Atoms],
    model: MACE,
    *,
    head: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Predict structures and write them as extended XYZ, with the predictions as labels.

    The keys are ``energy`` (eV), ``forces`` (eV/Å) and, where a structure is periodic in
    three directions, ``stress`` (eV/Å^3). Positions are rounded to what the file holds
    before they are predicted, so that labels and structures fit each other.

    Args:
        path: File to write, whole or not at all; an older one is replaced.
        structures: At least one; constraints and labels of their own are left out.
        model: The parent, on its device and in its dtype; its mode is left as it is.
        head: Which head predicts; None: the only one.
        progress: Called with structures done and in all.

    Returns:
        How many structures were written.

    Raises:
        ValueError: If there is none, an element is unknown to the model, the head is
            missing or unknown, or a prediction is not finite.
    """
    if not structures:
        raise ValueError("there is no structure to label: name files with frames in them")
    _require_known(structures, model.elements)
    rounded = [_as_written(atoms) for atoms in structures]
    predictions = predict_structures(rounded, model, head=head)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(path)
    try:
        with partial.open("w", encoding="utf-8") as file:
            for place, (atoms, said) in enumerate(zip(rounded, predictions)):
                if said.wrong:
                    raise ValueError(
                        f"the {' and '.join(said.wrong)} that the parent predicts for "
                        f"structure {place} ({atoms.get_chemical_formula()}) is not "
                        "finite, so that it is no label: leave this structure out"
                    )
                write_xyz(file, _labelled(atoms, said), write_results=False)
                if progress is not None:
                    progress(place + 1, len(rounded))
        finish_file(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return len(rounded)


def predict_structures(
    structures: Sequence[Atoms], model: MACE, *, head: str | None = None
) -> Iterator[FramePrediction]:
    """What a model says of structures, in their order, in batches bounded by edges.

    Args:
        structures: Of elements that the model knows.
        model: On its device and in its dtype; its mode is left as it is.
        head: Which head predicts; None: the only one.

    Raises:
        ValueError: If the head is missing or unknown, or an element is unknown.
    """
    place = place_of_head(model, head)
    dtype = next(model.parameters()).dtype
    batch: list[AtomicGraph] = []
    num_edges = 0
    for atoms in structures:
        graph = AtomicGraph.from_atoms(
            atoms, elements=model.elements, r_max=model.r_max, dtype=dtype, head=place
        )
        if batch and num_edges + graph.num_edges > _MAX_EDGES:
            yield from _predict(model, batch)
            batch, num_edges = [], 0
        batch.append(graph)
        num_edges += graph.num_edges
    if batch:
        yield from _predict(model, batch)


def read_structures(
    spec: str | Path | Sequence[str | Path],
    *,
    r_max: float,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> list[Atoms]:
    """The structures of files of any form that training reads; labels are ignored.

    Args:
        spec: A file, a folder, a glob or a list of these, of frames or shards.
        r_max: Cutoff in Å, for which the prepared frames are kept in the cache.
        cache_dir: Folder of prepared shards; None: ``$XDG_CACHE_HOME/mace-train``.
        progress: Called with frames done and in all while preparing.

    Raises:
        ValueError: If files are missing or unfit, or a frame is no structure.
    """
    are_shards = any(is_shard(path) for path in expand_sources(spec))
    none = LabelKeys(energy="none", forces="none", stress="none")
    store = open_store(
        spec,
        keys=LabelKeys() if are_shards else none,
        r_max=r_max,
        cache_dir=cache_dir,
        progress=progress,
    )
    return structures_of(FrameSet.of_all(store))


def structures_of(frames: FrameSet) -> list[Atoms]:
    """Frames of a store as structures, without their labels."""
    found = map(frames.store.frame, frames.indices.tolist())
    return [Atoms(f.atomic_numbers, f.positions, cell=f.cell, pbc=f.pbc) for f in found]


def place_of_head(model: MACE, head: str | None) -> int:
    """Place of a head in the model's list; None is the only one.

    Raises:
        ValueError: If there is no such head, or none is named and there are several.
    """
    heads = list(model.heads)
    if head is None and len(heads) == 1:
        return 0
    if head is None:
        raise ValueError(f"the model has several heads: choose one of {', '.join(heads)}")
    if head not in heads:
        raise ValueError(f"the model has no head {head!r}: it has {', '.join(heads)}")
    return heads.index(head)


def _predict(model: MACE, graphs: Sequence[AtomicGraph]) -> Iterator[FramePrediction]:
    """What a model says of a batch, cut into structures."""
    was_training = model.training
    model.eval()
    try:
        graph = AtomicGraph.batch(graphs).with_tables()
        with torch.no_grad():
            said = model(
                graph.to(next(model.parameters()).device),
                compute_stress=True,
                create_graph=False,
            )
    finally:
        model.train(was_training)
    assert said.forces is not None
    assert said.stress is not None
    energy, forces, stress = (
        values.double().cpu().numpy() for values in (said.energy, said.forces, said.stress)
    )
    ends = np.cumsum([one.num_nodes for one in graphs])[:-1]
    for place, own_forces in enumerate(np.split(forces, ends)):
        has_volume = bool(graph.pbc[place].all())
        yield FramePrediction(
            energy=float(energy[place]),
            forces=own_forces,
            stress=stress[place] if has_volume else None,
        )


def _require_known(structures: Sequence[Atoms], elements: ElementTable) -> None:
    known = set(elements.atomic_numbers)
    foreign = [
        (place, atoms)
        for place, atoms in enumerate(structures)
        if not known.issuperset(atoms.numbers.tolist())
    ]
    if not foreign:
        return
    unknown = {int(number) for _, atoms in foreign for number in atoms.numbers} - known
    names = ", ".join(chemical_symbols[number] for number in sorted(unknown))
    place, first = foreign[0]
    raise ValueError(
        f"the parent does not know {names}, so it cannot label {len(foreign)} of "
        f"{len(structures)} structures (first: number {place}, "
        f"{first.get_chemical_formula()}). It knows {', '.join(elements.symbols)}: leave "
        "those structures out"
    )


def _as_written(atoms: Atoms) -> Atoms:
    """Elements, positions as the file will hold them, and cell."""
    positions = atoms.get_positions().round(_DECIMALS)
    return Atoms(atoms.numbers, positions, cell=atoms.cell, pbc=atoms.pbc)


def _labelled(atoms: Atoms, said: FramePrediction) -> Atoms:
    labelled = atoms.copy()
    labelled.info["energy"] = said.energy
    labelled.arrays["forces"] = said.forces
    if said.stress is not None:
        labelled.info["stress"] = said.stress.ravel()
    return labelled
