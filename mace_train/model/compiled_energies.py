"""The energies through torch.compile, for a GPU and predictions that end with forces.

Compiled code has one derivative, so training, which differentiates forces, runs uncompiled.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from mace_train.graph import AtomicGraph
from mace_train.model.backends import Backend, chosen_backend
from mace_train.model.derivatives import Prediction
from mace_train.model.neighborhoods import Neighborhoods

logger = logging.getLogger(__name__)

Energies = Callable[[AtomicGraph, Neighborhoods], Prediction]


def compiles(backend: Backend, device: torch.device) -> bool:
    """Whether a model's energies are compiled: where ``auto`` takes ``plain``, on a GPU."""
    is_auto = backend == "auto" and device.type == "cuda"
    return is_auto and chosen_backend(backend, device) == "plain"


class CompiledEnergies:
    """A model's energies, compiled at the first call for any number of atoms and edges.

    Where torch cannot compile them, a warning says so and they run as they are.

    Args:
        energies: Predicts the energies of a graph, given its edges.
    """

    def __init__(self, energies: Energies) -> None:
        self._plain = energies
        self._compiled: Energies | None = torch.compile(energies, dynamic=True)
        logger.info("backend: plain, compiled; the first prediction takes a minute or two")

    def __call__(self, graph: AtomicGraph, neighborhoods: Neighborhoods) -> Prediction:
        """The prediction of the compiled function, or of the plain one."""
        if self._compiled is not None:
            # Loading the compiler takes seconds, which only those pay who compile.
            from torch._dynamo.exc import TorchDynamoException

            try:
                return self._compiled(graph, neighborhoods)
            except TorchDynamoException as error:
                logger.warning("torch.compile failed, so the model runs plain: %s", error)
                self._compiled = None
        return self._plain(graph, neighborhoods)
