import pytest
import torch

from mace_train.model.irreps import Irreps, Layout, spherical_harmonics


def test_a_layout_counts_components_and_numbers():
    layout = Layout.from_irreps("8x0e + 8x1o + 8x2e")
    assert layout.degrees == (0, 1, 2)
    assert layout.num_components == 9
    assert layout.dim == Irreps("8x0e + 8x1o + 8x2e").dim


def test_degrees_may_be_left_out():
    assert Layout.from_irreps("4x0e + 4x2e").degrees == (0, 2)


@pytest.mark.parametrize(
    ("irreps", "problem"),
    [
        ("16x1o", "scalars first"),
        ("16x0e + 16x1e", "parity"),
        ("16x0o", "parity"),
        ("16x0e + 16x2e + 16x1o", "ascending l"),
        ("16x0e + 16x0e", "ascending l"),
        ("", "scalars first"),
        ("16x0e + 8x1o", "same number of channels"),
        ("sixteen scalars", "is not in the notation of e3nn"),
    ],
)
def test_other_irreps_are_refused(irreps, problem):
    with pytest.raises(ValueError, match=problem):
        Layout.from_irreps(irreps)


def test_features_flatten_in_the_order_of_e3nn():
    layout = Layout(2, (0, 1))
    features = torch.arange(8.0).view(4, 1, 2)  # component, node, channel
    assert layout.to_e3nn(features)[0].tolist() == [0, 1, 2, 4, 6, 3, 5, 7]


def test_harmonics_have_component_normalization_and_follow_x_y_z():
    vectors = torch.randn(5, 3, dtype=torch.float64)
    harmonics = spherical_harmonics(vectors, 4)
    for degree in range(5):
        block = harmonics[:, degree**2 : (degree + 1) ** 2]
        squares = (block**2).sum(1)
        torch.testing.assert_close(squares, torch.full_like(squares, 2 * degree + 1))
    directions = vectors / vectors.norm(dim=1, keepdim=True)
    torch.testing.assert_close(harmonics[:, 1:4], 3**0.5 * directions)
