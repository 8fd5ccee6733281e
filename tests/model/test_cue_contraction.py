"""The contraction by cuequivariance as `SymmetricContraction` calls it."""

import pytest
import torch
import twice_differentiable as laws
from made_neighborhoods import lone_atoms
from optional_backends import NEEDS_CUEQUIVARIANCE

from mace_train.model.cue_contraction import contraction_operation, cue_contract
from mace_train.model.irreps import Layout
from mace_train.model.neighborhoods import Neighborhoods
from mace_train.model.polynomials import product_polynomials
from mace_train.model.symmetric_contraction import SymmetricContraction

pytestmark = NEEDS_CUEQUIVARIANCE
CHANNELS = 2


def contraction(degrees=(0, 1), *, correlation=3):
    layout = Layout(CHANNELS, degrees)
    return SymmetricContraction(2, layout, correlation=correlation, num_elements=4).double()


def messages(num_nodes):
    return torch.randn(9, num_nodes, CHANNELS, dtype=torch.float64)


@pytest.mark.parametrize(("degrees", "correlation"), [((0, 1), 3), ((0, 2), 2), ((0,), 1)])
@pytest.mark.parametrize("elements", [[3, 0, 0, 2], [1], []])
def test_values_and_derivatives_are_those_of_the_plain_one(degrees, correlation, elements):
    module = contraction(degrees, correlation=correlation)
    atoms = Neighborhoods.of(lone_atoms(elements))
    operation, reference = (
        lambda message, backend=backend: tuple(module(message, atoms, backend=backend))
        for backend in ("cuequivariance", "plain")
    )
    laws.check_agreement(operation, reference, [messages(len(elements))])


@pytest.mark.parametrize("elements", [[3, 0, 0, 2], [1]])
def test_derivatives_by_weights_are_those_of_finite_differences(elements):
    sets = tuple(
        tuple(product_polynomials(1, degree, correlation=order) for order in (1, 2))
        for degree in (0, 1)
    )
    operation = contraction_operation(sets, 4, CHANNELS, device=torch.device("cpu"))
    num_weights = sum(len(p.mixing) for orders in sets for p in orders)
    weights = torch.randn(num_weights, 4, CHANNELS, dtype=torch.float64)
    index = torch.tensor(elements)
    laws.check_derivatives(
        lambda message, weights: cue_contract(operation, message, weights, index),
        [messages(len(elements))[:4], weights],
    )


def test_it_is_made_once_for_models_of_one_kind():
    atoms = Neighborhoods.of(lone_atoms([1]))
    contraction()(messages(1), atoms, backend="cuequivariance")
    made = contraction_operation.cache_info().misses
    contraction()(messages(1), atoms, backend="cuequivariance")
    assert contraction_operation.cache_info().misses == made


def test_it_adds_nothing_to_the_state_of_a_model():
    module = contraction()
    names = set(module.state_dict())
    module(messages(1), Neighborhoods.of(lone_atoms([1])), backend="cuequivariance")
    assert set(module.state_dict()) == names
