import math

import pytest
import torch

from mace_train.model.pair_repulsion import ZBLRepulsion


def repulsion(r, z1, z2):
    numbers = torch.tensor([z1]), torch.tensor([z2])
    return float(ZBLRepulsion(cutoff_p=6)(torch.tensor([r], dtype=torch.float64), *numbers))


@pytest.mark.parametrize(
    ("r", "z1", "z2", "contact"), [(0.3, 14, 8, 1.77), (1.0, 29, 29, 2.64)]
)
def test_it_is_the_published_formula(r, z1, z2, contact):
    a = 0.4543 * 0.529 / (z1**0.3 + z2**0.3)
    terms = zip((0.1818, 0.5099, 0.2802, 0.02817), (3.2, 0.9423, 0.4028, 0.2016))
    phi = sum(c * math.exp(-d * r / a) for c, d in terms)
    u = r / contact
    envelope = 1 - 28 * u**6 + 48 * u**7 - 21 * u**8
    expected = 0.5 * 14.3996 * z1 * z2 / r * phi * envelope
    assert repulsion(r, z1, z2) == pytest.approx(expected, rel=1e-9)


def test_it_ends_where_covalent_spheres_part():
    assert repulsion(1.76, 14, 8) > 0
    assert repulsion(1.7701, 14, 8) == 0
    assert repulsion(100.0, 55, 55) == 0


def test_both_atoms_take_the_same_half():
    assert repulsion(0.8, 3, 17) == pytest.approx(repulsion(0.8, 17, 3), rel=1e-12)
