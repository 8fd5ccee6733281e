"""Run a model, or any ASE calculator, on the frames of a set.

Floor 3. Both ways end in `Predictions`, from which an `Evaluation` tells the errors.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.stress import voigt_6_to_full_3x3_stress
from torch.utils.data import DataLoader

from mace_train.training.errors import Evaluation
from mace_train.training.predictions import FramePrediction, Predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ase.calculators.calculator import BaseCalculator

    from mace_train.data.dataset import GraphDataset
    from mace_train.data.frame import Frame
    from mace_train.data.store import FrameStore
    from mace_train.graph import AtomicGraph
    from mace_train.model.mace import MACE


def evaluate_model(
    model: MACE,
    dataset: GraphDataset,
    *,
    batch_size: int = 16,
    device: torch.device | str = "cpu",
    head: int | None = None,
    num_workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate a model on every frame of a data set, once, in its order.

    Neither the batch size nor the number of workers changes a result beyond rounding.

    Args:
        model: Moved to ``device``; its mode (training or not) is put back afterwards.
        dataset: Built with the model's elements, cutoff and dtype.
        batch_size: Frames evaluated at a time.
        device: Where to compute.
        head: Place of the head whose energies are asked for; None: that of each frame's
            set.
        num_workers: Processes that build graphs.
        progress: Called with the frames done and their total after every batch.

    Raises:
        ValueError: If the data set is empty or a prediction is not finite.
    """
    was_training = model.training
    model.to(device).eval()
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        collate_fn=dataset.collate,
        num_workers=num_workers,
        generator=torch.Generator().manual_seed(0),  # leaves the global random state alone
    )

    def predicted() -> Iterator[tuple[int, Frame, FramePrediction]]:
        done = 0
        for graph in loader:
            indices = dataset.indices[done : done + graph.num_graphs]
            frames = [dataset.store.frame(int(index)) for index in indices]
            if head is not None:
                graph = replace(graph, head=torch.full_like(graph.head, head))
            predictions = _predict(model, graph.to(device), frames)
            yield from zip(map(int, indices), frames, predictions)
            done += graph.num_graphs
            if progress is not None:
                progress(done, len(dataset))

    try:
        return Evaluation(Predictions.collect(predicted()), dataset.store)
    finally:
        model.train(was_training)


def evaluate_calculator(
    calculator: BaseCalculator,
    store: FrameStore,
    indices: Sequence[int] | np.ndarray,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate any ASE calculator on frames, one after the other.

    Stress is asked for where a frame is periodic in three directions; a calculator that has
    none is scored without.

    Args:
        calculator: Gives energy (eV) and forces (eV/Å), perhaps stress (eV/Å^3).
        store: The frames.
        indices: Which frames, in which order.
        progress: Called with the frames done and their total after every frame.

    Raises:
        ValueError: If the calculator fails on a frame, which the message names, or a
            prediction is not finite.
    """

    def predicted() -> Iterator[tuple[int, Frame, FramePrediction]]:
        for done, index in enumerate(map(int, indices), start=1):
            frame = store.frame(index)
            yield index, frame, _calculate(calculator, frame)
            if progress is not None:
                progress(done, len(indices))

    return Evaluation(Predictions.collect(predicted()), store)


def _predict(
    model: MACE, graph: AtomicGraph, frames: list[Frame]
) -> Iterable[FramePrediction]:
    """Run the model on a batch and cut the answer into frames."""
    with torch.no_grad():
        prediction = model(graph, compute_forces=True, compute_stress=True)
    assert prediction.forces is not None
    assert prediction.stress is not None
    energy = prediction.energy.double().cpu().numpy()
    stress = prediction.stress.double().cpu().numpy()
    sizes = [len(frame.atomic_numbers) for frame in frames]
    forces = np.split(prediction.forces.double().cpu().numpy(), np.cumsum(sizes)[:-1])
    return [
        FramePrediction(
            energy=float(energy[i]),
            forces=forces[i],
            stress=stress[i] if frame.pbc.all() else None,
        )
        for i, frame in enumerate(frames)
    ]


def _calculate(calculator: BaseCalculator, frame: Frame) -> FramePrediction:
    atoms = Atoms(
        numbers=frame.atomic_numbers,
        positions=frame.positions,
        cell=frame.cell,
        pbc=frame.pbc,
    )
    atoms.calc = calculator
    try:
        energy = float(atoms.get_potential_energy())
        forces = np.asarray(atoms.get_forces(), np.float64)
        stress = _stress_of(atoms) if frame.pbc.all() else None
    except (
        ArithmeticError,
        AssertionError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(
            f"{type(calculator).__name__} failed on frame {frame.index} of {frame.source} "
            f"({frame.formula}): {type(error).__name__}: {error}"
        ) from error
    return FramePrediction(energy, forces, stress)


def _stress_of(atoms: Atoms) -> np.ndarray | None:
    try:
        stress = atoms.get_stress(voigt=True)
    except PropertyNotImplementedError:
        return None
    return voigt_6_to_full_3x3_stress(np.asarray(stress, np.float64))
