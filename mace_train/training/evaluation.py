"""Run a model, or any ASE calculator, on the frames of a set, and hold all in memory.

Floor 4. Both ways end in `Predictions`, from which an `Evaluation` tells the errors. What
may take hours is done part by part (`part_work.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mace_train.training.errors import Evaluation
from mace_train.training.potentials import CalculatorPotential, ModelPotential
from mace_train.training.predictions import FrameFailure, FramePrediction, Predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    import torch
    from ase.calculators.calculator import BaseCalculator

    from mace_train.data.dataset import GraphDataset
    from mace_train.data.frame import Frame
    from mace_train.data.store import FrameStore
    from mace_train.model.mace import MACE
    from mace_train.training.potentials import Potential


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
    potential = ModelPotential(
        [model],
        dataset,
        device=device,
        head=head,
        batch_size=batch_size,
        num_workers=num_workers,
    )

    def tell(done: int) -> None:
        if progress is not None and (done % batch_size == 0 or done == len(dataset)):
            progress(done, len(dataset))

    try:
        frames = _predicted(potential, dataset.store, dataset.indices, tell=tell)
        return Evaluation(Predictions.collect(frames), dataset.store)
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

    Args:
        calculator: Gives energy (eV) and forces (eV/Å), perhaps stress (eV/Å^3).
        store: The frames.
        indices: Which frames, in which order.
        progress: Called with the frames done and their total after every frame.

    Raises:
        ValueError: If the calculator fails on a frame, which the message names, or a
            prediction is not finite.
    """
    potential = CalculatorPotential(calculator, store, indices)

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, len(indices))

    frames = _predicted(potential, store, indices, tell=tell)
    return Evaluation(Predictions.collect(frames), store)


def _predicted(
    potential: Potential,
    store: FrameStore,
    indices: Sequence[int] | np.ndarray,
    *,
    tell: Callable[[int], None],
) -> Iterator[tuple[int, Frame, FramePrediction]]:
    """Place in the store, frame and prediction of each; the first failure is raised."""
    outcomes = potential(range(len(indices)))
    for done, (index, outcome) in enumerate(zip(map(int, indices), outcomes), start=1):
        if isinstance(outcome, FrameFailure):
            raise ValueError(outcome.reason)
        yield index, store.frame(index), outcome
        tell(done)
