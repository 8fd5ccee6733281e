"""Geometry of one frame, written out by hand for speed: it equals numpy's."""

import numpy as np
import pytest

from mace_train.data.frame import Frame, formula_of, inverse_of, volume_of

CELLS = [np.random.default_rng(seed).normal(size=(3, 3)) * 5 for seed in range(5)]


@pytest.mark.parametrize("cell", CELLS)
def test_volume_is_that_of_the_determinant(cell):
    assert volume_of(cell) == pytest.approx(abs(np.linalg.det(cell)), rel=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_inverse_turns_positions_into_fractions(cell):
    np.testing.assert_allclose(cell @ inverse_of(cell), np.eye(3), atol=1e-12)


def test_a_molecule_has_no_volume():
    assert volume_of(np.zeros((3, 3))) == 0


def test_formula_has_ascending_atomic_numbers():
    assert formula_of(np.array([26, 8, 3, 8, 8])) == "LiO3Fe"


def test_a_frame_without_labels_weighs_nothing():
    frame = Frame(
        atomic_numbers=np.array([8, 1, 1]),
        positions=np.zeros((3, 3)),
        cell=np.diag([2.0, 3.0, 4.0]),
        pbc=np.ones(3, bool),
    )

    assert (frame.num_atoms, frame.formula, frame.volume) == (3, "H2O", 24)
    assert frame.energy is frame.forces is frame.stress is None
    assert frame.energy_weight == frame.forces_weight == frame.stress_weight == 0
