import numpy as np
import pytest
import torch

from mace_train.model import wigner
from mace_train.model.irreps import o3
from mace_train.model.wigner import coupling_paths, product_basis, wigner_3j

# One entry of each symbol whose sign differs between e3nn versions, as in e3nn 0.4.4.
SIGNS_OF_0_4_4 = {
    (1, 2, 2): ((0, 0, 1), 0.182574185835055),
    (2, 1, 2): ((0, 0, 1), -0.182574185835055),
    (2, 2, 1): ((0, 1, 0), 0.182574185835055),
    (1, 3, 3): ((0, 0, 1), 0.133630620956212),
    (3, 1, 3): ((0, 0, 1), -0.133630620956212),
    (3, 3, 1): ((0, 1, 0), 0.133630620956212),
    (1, 4, 4): ((0, 0, 1), 0.105409255338946),
    (4, 4, 1): ((0, 1, 0), 0.105409255338946),
    (3, 4, 6): ((0, 0, 5), 0.012903494352313),
    (4, 4, 5): ((0, 1, 4), 0.076338102069057),
    (5, 5, 5): ((0, 1, 4), 0.088696859398362),
}


def rotations(degrees):
    angles = torch.tensor([0.3, 1.1, -0.7], dtype=torch.float64)
    with torch.no_grad():
        return [o3.Irrep(degree, 1).D_from_angles(*angles).numpy() for degree in degrees]


@pytest.mark.parametrize("degrees", [(1, 1, 1), (1, 2, 2), (2, 3, 4), (4, 4, 5), (3, 4, 6)])
def test_a_symbol_is_invariant_under_rotation(degrees):
    symbol = wigner_3j(*degrees)
    turned = np.einsum("ijk,ai,bj,ck->abc", symbol, *rotations(degrees))
    np.testing.assert_allclose(turned, symbol, atol=1e-6)
    assert np.sum(symbol**2) == pytest.approx(1)


@pytest.mark.parametrize("degrees", SIGNS_OF_0_4_4)
def test_signs_are_those_of_e3nn_0_4_4(degrees):
    place, value = SIGNS_OF_0_4_4[degrees]
    assert wigner_3j(*degrees)[place] == pytest.approx(value, abs=1e-12)


def test_signs_do_not_depend_on_the_installed_library(monkeypatch):
    expected = {degrees: wigner_3j(*degrees) for degrees in SIGNS_OF_0_4_4}
    original = o3.wigner_3j

    def other_convention(*degrees, dtype):
        flip = tuple(sorted(degrees)) in wigner._FLIPPED
        return original(*degrees, dtype=dtype) * (-1 if flip else 1)

    monkeypatch.setattr(o3, "wigner_3j", other_convention)
    wigner.wigner_3j.cache_clear()
    wigner._library_is_flipped.cache_clear()
    try:
        for degrees, symbol in expected.items():
            np.testing.assert_array_equal(wigner_3j(*degrees), symbol)
    finally:
        wigner.wigner_3j.cache_clear()
        wigner._library_is_flipped.cache_clear()


def test_degrees_of_unknown_sign_are_refused():
    with pytest.raises(ValueError, match="known up to l=8, got \\(9, 9, 0\\)"):
        wigner_3j(9, 9, 0)


@pytest.mark.parametrize(
    ("max_ell", "degree", "counts"),
    [(3, 0, (1, 4, 23)), (3, 1, (1, 6, 51)), (3, 2, (1, 7, 65)), (2, 1, (1, 4, 21))],
)
def test_the_number_of_paths_is_that_of_official_files(max_ell, degree, counts):
    for correlation, count in enumerate(counts, start=1):
        basis = product_basis(max_ell, degree, correlation=correlation)
        components = (max_ell + 1) ** 2
        assert basis.shape == (2 * degree + 1, *[components] * correlation, count)


# U_3 for max_ell 3 times a fixed pattern, from mace-torch 0.3.16 with e3nn 0.4.4.
# Those between the first and the last path change sign when made with e3nn >= 0.5.
GOLDEN = {
    0: {0: 0.8414709848, 22: 1.0402283763},
    1: {
        **{0: 2.0148510336, 17: 0.3124366277, 18: 1.0316837344, 21: -0.6205523716},
        **{22: 0.6796804048, 44: -0.4875370613, 46: 1.1857436112, 50: 0.2701664299},
    },
    2: {
        **{0: -2.3067390523, 16: -0.3540369213, 20: -0.6242512101, 22: -0.6431364769},
        **{23: 1.2042832113, 25: 0.3660793967, 53: 0.4423004541, 55: -1.6542914041},
        **{64: 0.5064345004},
    },
}


@pytest.mark.parametrize("degree", GOLDEN)
def test_the_product_basis_is_that_of_mace_torch(degree):
    basis = product_basis(3, degree, correlation=3)
    pattern = np.sin(1 + np.arange(basis[..., 0].size)).reshape(basis.shape[:-1])
    for path, value in GOLDEN[degree].items():
        assert np.sum(basis[..., path] * pattern) == pytest.approx(value, abs=1e-9)


def test_paths_couple_in_turn():
    (path,) = (
        path
        for path in coupling_paths(1, correlation=2, max_degree=0)
        if path.degrees == (1, 1)
    )
    assert (path.degree, path.parity) == (0, 1)
    np.testing.assert_allclose(path.coefficients[0], np.eye(3) / np.sqrt(3), atol=1e-12)


def test_a_degree_that_no_product_reaches_is_refused():
    with pytest.raises(ValueError, match="gives l=3: raise max_ell"):
        product_basis(1, 3, correlation=2)
