"""What the parent says about the sign and unit of forces, before anything is trained.

Floor 5. A foundation model is roughly right about most structures. Where labels point the
other way, or are many times larger, it is the labels that are suspected.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from mace_train.training.evaluation import evaluate_model

if TYPE_CHECKING:
    from jaxtyping import Float

    from mace_train.data.dataset import GraphDataset
    from mace_train.model.mace import MACE

logger = logging.getLogger(__name__)

_OPPOSITE = -0.5
_ALIKE = 0.8
_LARGEST_RATIO = 4.0


def check_forces(parent: MACE, graphs: GraphDataset, *, batch_size: int = 16) -> None:
    """Refuse forces of the opposite sign, and warn of those that seem of another unit.

    Args:
        parent: With one head.
        graphs: Some of the user's frames, built for it.
        batch_size: Frames predicted at a time.

    Raises:
        ValueError: If the labels and the parent's forces point in opposite directions.
    """
    labelled = graphs.store.label_presence["forces"][graphs.indices]
    if not labelled.any():
        return
    found = evaluate_model(parent, graphs, batch_size=batch_size, head=0).predictions
    correlation, ratio = _compare(*map(np.ravel, found.pairs("forces")))
    if correlation < _OPPOSITE:
        raise ValueError(
            "the forces of your frames point the other way than the parent's (correlation "
            f"{correlation:.2f}, in {int(labelled.sum())} frames): probably they are "
            "gradients of the energy. Forces are minus the gradient: multiply them by -1, "
            "or name another label with data.forces_key. If they are right all the same, "
            "the parent knows nothing of your structures: train from the beginning, or say "
            "so with data.train='[{path: FILE, check_labels: false}]'"
        )
    if correlation > _ALIKE and not 1 / _LARGEST_RATIO < ratio < _LARGEST_RATIO:
        logger.warning(
            "the forces of your frames are %.3g times those of the parent, in the same "
            "directions (correlation %.2f): are they in eV/Å? If not, say "
            "data.units.energy=... and data.units.length=...",
            ratio,
            correlation,
        )


def _compare(
    labels: Float[np.ndarray, " components"], said: Float[np.ndarray, " components"]
) -> tuple[float, float]:
    """Correlation of labels and predictions, and how much larger the labels are."""
    sizes = float(np.linalg.norm(labels)), float(np.linalg.norm(said))
    if min(sizes) == 0:
        return 0.0, 1.0
    return float(labels @ said) / (sizes[0] * sizes[1]), sizes[0] / sizes[1]
