"""Small models of all kinds, structures of their elements, and official files."""

import lzma
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from tiny_models import make_model

from mace_train.graph import AtomicGraph

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture
def small_model():
    """Gives a model of a few thousand numbers, float64, with reproducible weights."""
    return make_model


@pytest.fixture
def graph_of():
    """Gives eight atoms of some elements in a skewed cell, for a model and a head of it."""

    def make(model, atomic_numbers=None, *, head=None) -> AtomicGraph:
        random = np.random.default_rng(4)
        numbers = list(atomic_numbers or model.elements.atomic_numbers)
        cell = [[5.1, 0.2, 0.0], [0.3, 4.9, -0.4], [-0.2, 0.5, 5.3]]
        corners = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]) / 2
        places = corners + random.uniform(-0.06, 0.06, (8, 3))
        numbers = (numbers * 8)[:8]
        atoms = Atoms(numbers, scaled_positions=places, cell=cell, pbc=True)
        place = 0 if head is None else model.heads.index(head)
        dtype = next(model.parameters()).dtype
        return AtomicGraph.from_atoms(
            atoms, elements=model.elements, r_max=model.r_max, dtype=dtype, head=place
        )

    return make


@pytest.fixture
def same_prediction():
    """Compares energies, forces and stress of two predictions, each to an error at most."""

    def compare(found, expected, *, error: float) -> None:
        assert expected.forces.abs().max() > 1e-3  # eV/Å: there is something to compare
        for name in ("energy", "node_energies", "forces", "stress"):
            one, other = getattr(found, name), getattr(expected, name)
            torch.testing.assert_close(one, other, atol=error, rtol=0)

    return compare


@pytest.fixture
def official_path(tmp_path):
    """Gives the path of an official mace-torch file of tests/reference by name."""

    def unpack(name: str) -> Path:
        path = tmp_path / f"{name}.model"
        path.write_bytes(lzma.decompress((REFERENCE / f"{name}.model.xz").read_bytes()))
        return path

    return unpack
