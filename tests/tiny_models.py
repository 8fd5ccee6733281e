"""Models of a few thousand numbers, of any kind, for tests that need no trained one."""

import numpy as np
import torch

from mace_train.model.mace import MACE

SMALL = {
    "hidden_irreps": "4x0e + 4x1o",
    "max_ell": 2,
    "correlation": 2,
    "num_interactions": 2,
    "r_max": 4.0,
    "num_radial_basis": 4,
    "cutoff_p": 5,
    "radial_mlp": [8],
    "readout_hidden_irreps": "4x0e",
    "first_interaction": "residual",
    "interaction": "residual",
    "distance_transform": "none",
    "pair_repulsion": False,
    "atomic_numbers": [1, 8, 14],
    "avg_num_neighbors": 10.3,
}

ONE_HEAD = {
    **SMALL,
    "atomic_energies": [[-13.6, -430.0, -100.25]],
    "scale": [0.7],
    "shift": [0.1],
    "heads": ["Default"],
}


def make_model(*, heads=("Default",), **changes) -> MACE:
    """A model in float64, with reproducible weights and E0s, scale and shift by head."""
    random = np.random.default_rng(1)
    elements = len(changes.get("atomic_numbers", SMALL["atomic_numbers"]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = MACE(
            **SMALL | changes,
            atomic_energies=random.normal(-4, 2, (len(heads), elements)).tolist(),
            scale=random.uniform(0.5, 1.0, len(heads)).tolist(),
            shift=random.normal(0, 0.2, len(heads)).tolist(),
            heads=list(heads),
        )
    return model.double().eval()
