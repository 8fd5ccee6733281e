"""What all tests share: seeds, one thread, tiny frames, small models, physical laws."""

import numpy as np
import physical_laws
import pytest
import torch
from ase import Atoms

from mace_train.model import MACE

SMALL_MACE = {
    "hidden_irreps": "4x0e + 4x1o",
    "max_ell": 2,
    "correlation": 3,
    "num_interactions": 2,
    "r_max": 4.0,
    "num_radial_basis": 5,
    "cutoff_p": 5,
    "radial_mlp": [8, 8],
    "readout_hidden_irreps": "4x0e",
    "first_interaction": "residual",
    "interaction": "residual",
    "distance_transform": "none",
    "pair_repulsion": False,
    "atomic_numbers": [1, 8, 14],
    "atomic_energies": [-3.1, -7.2, -5.4],
    "avg_num_neighbors": 8.3,
    "scale": 0.8,
    "shift": 0.16,
}


@pytest.fixture(autouse=True)
def _reproducible():
    """The same random numbers and one thread, whatever ran before."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - for libraries that use the global state
    torch.set_num_threads(1)


@pytest.fixture
def water() -> Atoms:
    """A bent, distorted molecule without a cell."""
    return Atoms("OH2", [[0.0, 0.0, 0.1], [0.8, 0.1, 0.6], [-0.7, 0.2, 0.5]])


@pytest.fixture
def crystal() -> Atoms:
    """Five atoms of three elements in a triclinic cell, no two at equivalent places."""
    rng = np.random.default_rng(7)
    cell = np.array([[4.1, 0.2, 0.0], [0.3, 4.6, -0.4], [-0.2, 0.5, 5.0]])
    atoms = Atoms("SiO2H2", scaled_positions=rng.uniform(0, 1, (5, 3)), cell=cell, pbc=True)
    atoms.positions += rng.normal(0, 0.05, (5, 3))
    return atoms


@pytest.fixture
def small_mace():
    """Build a model of a few thousand weights, float64, strong enough to see its forces."""

    def build(**changes) -> MACE:
        torch.manual_seed(0)
        model = MACE(**{**SMALL_MACE, **changes}).to(torch.float64).eval()
        with torch.no_grad():
            for parameter in [*model.products.parameters(), *model.readouts.parameters()]:
                parameter.mul_(2.0)
        return model

    return build


@pytest.fixture
def check_laws():
    """Hold a model to all physical laws: ``check_laws(model)``."""
    return physical_laws.check_laws
