"""What is evaluated: a model, a committee of models, or any ASE calculator.

Floor 4. Each is called with frames of a store and gives one outcome after another. Models
take batches bounded by edges, calculators one frame at a time.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.stress import voigt_6_to_full_3x3_stress
from torch.utils.data import DataLoader

from mace_train.micro_batches import cut
from mace_train.training.prediction_plan import cut_by_edges
from mace_train.training.predictions import (
    FrameFailure,
    FramePrediction,
    Outcome,
    not_finite,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ase.calculators.calculator import BaseCalculator

    from mace_train.data.dataset import GraphDataset
    from mace_train.data.frame import Frame
    from mace_train.data.store import FrameStore
    from mace_train.graph import AtomicGraph
    from mace_train.model.mace import MACE


class Potential(Protocol):
    """Predicts frames, named by their places among those it was made for."""

    def __call__(self, *groups: Sequence[int]) -> Iterator[Outcome]:
        """The outcome of each frame, in the given order; no batch spans two groups."""
        ...


class ModelPotential:
    """A model, or the mean of several, on batches bounded by edges.

    Neither batches nor workers change a result beyond rounding.

    Args:
        models: On ``device`` and in evaluation mode; several must share elements, cutoff
            and dtype.
        dataset: Built with the models' elements, cutoff and dtype.
        device: Where to compute.
        head: Place of the head whose energies are asked for; None: that of each frame's
            set.
        max_edges: The most directed edges of a batch; None: no bound.
        batch_size: The most frames of a batch; None: no bound.
        node_energies: Whether to give each atom's share of the energy.
        num_workers: Processes that build graphs.
    """

    def __init__(
        self,
        models: Sequence[MACE],
        dataset: GraphDataset,
        *,
        device: torch.device | str = "cpu",
        head: int | None = None,
        max_edges: int | None = None,
        batch_size: int | None = None,
        node_energies: bool = False,
        num_workers: int = 0,
    ) -> None:
        self.models = list(models)
        self.dataset = dataset
        self.max_edges = max_edges
        self._device = device
        self._head = head
        self._batch_size = batch_size
        self._node_energies = node_energies
        self._num_workers = num_workers

    def batches(self, *groups: Sequence[int]) -> list[list[int]]:
        """The frames in batches, in the given order; no batch spans two groups."""
        store, r_max = self.dataset.store, self.dataset.r_max
        edge_counts = None if self.max_edges is None else store.edge_counts(r_max)
        batches = []
        for group in groups:
            places = np.asarray(group, np.int64)
            edges = np.zeros(len(places), np.int64)
            if edge_counts is not None:
                edges = edge_counts[self.dataset.indices[places]]
            batches += [
                places[cut.start : cut.stop].tolist()
                for cut in cut_by_edges(
                    edges, max_edges=self.max_edges, max_frames=self._batch_size
                )
            ]
        return batches

    def __call__(self, *groups: Sequence[int]) -> Iterator[Outcome]:
        """The outcome of each frame, in the given order."""
        batches = self.batches(*groups)
        loader = DataLoader(
            self.dataset,
            batch_sampler=batches,
            collate_fn=self.dataset.collate,
            num_workers=self._num_workers,
            generator=torch.Generator().manual_seed(0),  # leaves the global state alone
        )
        places = chain.from_iterable(batches)
        for graph in loader:
            if self._head is not None:
                graph = replace(graph, head=torch.full_like(graph.head, self._head))
            for prediction in self._predict(graph):
                yield self._checked(next(places), prediction)

    def _checked(self, place: int, prediction: FramePrediction) -> Outcome:
        if not prediction.wrong:
            return prediction
        index = int(self.dataset.indices[place])
        return FrameFailure(not_finite(index, self.dataset.store.frame(index), prediction))

    def _predict(self, graph: AtomicGraph) -> list[FramePrediction]:
        """Predict a batch; where the memory of a GPU is full, in two halves."""
        try:
            members = [self._of_model(model, graph) for model in self.models]
        except torch.OutOfMemoryError as error:
            if graph.num_graphs == 1:
                raise ValueError(self._too_large(graph)) from error
            self.max_edges = graph.num_edges // 2
            parts = cut(replace(graph, tables=None), max_edges=self.max_edges)
            if len(parts) == 1:  # nearly no edges at all
                raise ValueError(self._too_large(graph)) from error
            return [one for part in parts for one in self._predict(part.with_tables())]
        if len(members) == 1:
            return members[0]
        return [_committee_mean(frame) for frame in zip(*members)]

    def _of_model(self, model: MACE, graph: AtomicGraph) -> list[FramePrediction]:
        """Run a model on a batch and cut the answer into frames."""
        with torch.no_grad():
            prediction = model(
                graph.to(self._device), compute_forces=True, compute_stress=True
            )
        assert prediction.forces is not None
        assert prediction.stress is not None
        energy, forces, stress, node_energies = (
            values.double().cpu().numpy()
            for values in (
                prediction.energy,
                prediction.forces,
                prediction.stress,
                prediction.node_energies,
            )
        )
        sizes = torch.bincount(graph.graph_index, minlength=graph.num_graphs)
        ends = np.cumsum(sizes.cpu().numpy())[:-1]
        atoms = zip(np.split(forces, ends), np.split(node_energies, ends))
        has_volume = graph.pbc.all(dim=1).tolist()
        return [
            FramePrediction(
                energy=float(energy[place]),
                forces=frame_forces,
                stress=stress[place] if has_volume[place] else None,
                node_energies=shares if self._node_energies else None,
            )
            for place, (frame_forces, shares) in enumerate(atoms)
        ]

    def _too_large(self, graph: AtomicGraph) -> str:
        where = ""
        if graph.labels is not None:
            index = int(graph.labels.frame_index[0])
            where = f" ({self.dataset.store.describe(index)})"
        return (
            f"a frame of {graph.num_nodes} atoms and {graph.num_edges} edges{where} does "
            "not fit into the memory of the GPU: leave it out, or take device=cpu, "
            "dtype=float32 or a GPU with more memory"
        )


class CalculatorPotential:
    """An ASE calculator on one frame after another.

    Stress is asked for where a frame is periodic in three directions; a calculator that
    has none is evaluated without.

    Args:
        calculator: Gives energy (eV) and forces (eV/Å), perhaps stress (eV/Å^3).
        store: Of the frames.
        indices: Their places in it.
        node_energies: Whether to ask for each atom's share of the energy too.
    """

    def __init__(
        self,
        calculator: BaseCalculator,
        store: FrameStore,
        indices: Sequence[int] | np.ndarray,
        *,
        node_energies: bool = False,
    ) -> None:
        self._calculator = calculator
        self._store = store
        self._indices = np.asarray(indices, np.int64)
        self._node_energies = node_energies

    def __call__(self, *groups: Sequence[int]) -> Iterator[Outcome]:
        """The outcome of each frame, in the given order."""
        for place in chain(*groups):
            index = int(self._indices[place])
            yield self._outcome(index, self._store.frame(index))

    def _outcome(self, index: int, frame: Frame) -> Outcome:
        try:
            prediction = self._calculate(frame)
        except (
            ArithmeticError,
            AssertionError,
            LookupError,
            NotImplementedError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            return FrameFailure(
                f"{type(self._calculator).__name__} failed on frame {frame.index} of "
                f"{frame.source} ({frame.formula}): {type(error).__name__}: {error}"
            )
        if prediction.wrong:
            return FrameFailure(not_finite(index, frame, prediction))
        return prediction

    def _calculate(self, frame: Frame) -> FramePrediction:
        atoms = Atoms(
            numbers=frame.atomic_numbers,
            positions=frame.positions,
            cell=frame.cell,
            pbc=frame.pbc,
        )
        atoms.calc = self._calculator
        return FramePrediction(
            energy=float(atoms.get_potential_energy()),
            forces=np.asarray(atoms.get_forces(), np.float64),
            stress=_if_known(lambda: _stress_of(atoms)) if frame.pbc.all() else None,
            node_energies=_if_known(lambda: np.asarray(atoms.get_potential_energies()))
            if self._node_energies
            else None,
        )


def _if_known(ask: Callable[[], np.ndarray]) -> np.ndarray | None:
    """What a calculator says; None where it does not know such a property."""
    try:
        return ask()
    except PropertyNotImplementedError:
        return None


def _stress_of(atoms: Atoms) -> np.ndarray:
    stress = atoms.get_stress(voigt=True)
    return voigt_6_to_full_3x3_stress(np.asarray(stress, np.float64))


def _committee_mean(members: Sequence[FramePrediction]) -> FramePrediction:
    """Mean and standard deviation of what several models say of a frame."""

    def column(name: str) -> np.ndarray | None:
        values = [getattr(member, name) for member in members]
        return None if values[0] is None else np.stack([np.asarray(v) for v in values])

    energy, forces = column("energy"), column("forces")
    stress, shares = column("stress"), column("node_energies")
    assert energy is not None
    assert forces is not None
    return FramePrediction(
        energy=float(energy.mean()),
        forces=forces.mean(axis=0),
        stress=None if stress is None else stress.mean(axis=0),
        node_energies=None if shares is None else shares.mean(axis=0),
        energy_std=float(energy.std()),
        forces_std=forces.std(axis=0),
        stress_std=None if stress is None else stress.std(axis=0),
    )
