import math

import pytest
import torch

from mace_train.model.neighborhoods import GradientScope
from mace_train.model.radial import (
    SILU_NORMALIZATION,
    AgnesiTransform,
    BesselBasis,
    RadialEmbedding,
    RadialMLP,
    polynomial_envelope,
)

BACKENDS = ["plain", "chunked"]


def lengths(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_envelope_leaves_one_and_reaches_zero_smoothly():
    x = torch.linspace(0, 6, 601, dtype=torch.float64, requires_grad=True)
    envelope = polynomial_envelope(x, 5.0, p=5)
    (slope,) = torch.autograd.grad(envelope.sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    at_cutoff = 500
    assert envelope[0] == 1
    assert (envelope[at_cutoff:] == 0).all()
    assert envelope[at_cutoff - 1].abs() < 1e-6
    assert slope[at_cutoff - 1].abs() < 1e-3
    assert curvature[at_cutoff - 1].abs() < 0.3
    assert (slope[1:at_cutoff] < 0).all()


def test_bessel_functions_vanish_at_the_cutoff_and_are_orthonormal():
    basis = BesselBasis(5.0, 4)
    at_cutoff = basis(lengths(5.0))
    torch.testing.assert_close(at_cutoff, torch.zeros_like(at_cutoff), atol=1e-12, rtol=0)
    x = torch.linspace(0, 5, 20001, dtype=torch.float64)[1:]
    values = basis(x)
    overlaps = torch.einsum("xi,xj,x->ij", values, values, x**2) * (5 / 20000)
    torch.testing.assert_close(overlaps, torch.eye(4).double(), atol=1e-6, rtol=0)


def test_the_agnesi_transform_has_its_published_values():
    transform = AgnesiTransform()
    numbers = torch.tensor([1, 8])
    found = transform(lengths(1.0, 2.0), numbers, torch.tensor([8, 14]))
    for value, r, radius in zip(found.tolist(), (1.0, 2.0), (0.485, 0.885)):
        s = r / radius
        expected = 1 / (1 + 1.0805 * s**0.9183 / (1 + s ** (0.9183 - 4.5791)))
        assert value == pytest.approx(expected, rel=1e-12)


def test_the_agnesi_transform_falls_from_one_to_zero():
    x = torch.linspace(0.05, 50, 200, dtype=torch.float64)
    carbon = torch.full((200,), 6)
    values = AgnesiTransform()(x, carbon, carbon)
    assert (values.diff() < 0).all()
    assert values[0] > 0.99
    assert values[-1] < 0.03


@pytest.mark.parametrize("agnesi", [False, True])
def test_the_radial_basis_is_exactly_zero_beyond_the_cutoff(agnesi):
    embedding = RadialEmbedding(5.0, 8, cutoff_p=5, agnesi=agnesi)
    numbers = torch.tensor([1, 1, 1])
    values = embedding(lengths(2.0, 5.0, 100.0), numbers, numbers)
    assert values.shape == (3, 8)
    assert (values[0] != 0).all()
    assert (values[1:] == 0).all()


def test_silu_has_unit_second_moment_of_a_normal_variable():
    x = torch.linspace(-12, 12, 100001, dtype=torch.float64)
    density = torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    silu = torch.nn.functional.silu(x) * SILU_NORMALIZATION
    moment = float((silu**2 * density).sum() * (x[1] - x[0]))
    assert moment == pytest.approx(1, abs=5e-3)  # e3nn's constant is a sampled estimate


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_radial_mlp_divides_by_the_root_of_its_inputs(backend):
    mlp = RadialMLP([3, 4, 5])
    x = torch.randn(7, 3)
    hidden, matrix = mlp(x, backend=backend, scope=GradientScope())
    first, last = (parameter.detach() for parameter in mlp.parameters())
    expected = torch.nn.functional.silu(x @ first / 3**0.5) * SILU_NORMALIZATION
    torch.testing.assert_close(hidden @ matrix, expected @ last / 4**0.5)
    assert [name for name, _ in mlp.named_parameters()] == [
        "layer0.weight",
        "layer1.weight",
    ]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_radial_mlp_gives_exactly_zero_for_zero(backend):
    mlp = RadialMLP([3, 4, 4, 5])
    hidden, _ = mlp(torch.zeros(2, 3), backend=backend, scope=GradientScope())
    assert (hidden == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_radial_mlp_without_hidden_layers_is_a_matrix(backend):
    x = torch.randn(7, 3)
    hidden, matrix = RadialMLP([3, 5])(x, backend=backend, scope=GradientScope())
    assert torch.equal(hidden, x)
    assert matrix.shape == (3, 5)
