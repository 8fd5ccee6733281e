from itertools import permutations
from math import factorial

import numpy as np
import pytest
import torch
from made_neighborhoods import lone_atoms
from optional_backends import BACKENDS

from mace_train.model.irreps import Layout
from mace_train.model.neighborhoods import Neighborhoods
from mace_train.model.symmetric_contraction import ProductBasis, SymmetricContraction
from mace_train.model.wigner import product_basis


def atoms_of(element):
    return Neighborhoods.of(lone_atoms(element.tolist()))


def contraction(**changes):
    given = {"correlation": 3, "num_elements": 4, **changes}
    return SymmetricContraction(2, Layout(3, (0, 1)), **given).double()


def as_in_the_paper(module, message, element, max_ell=2):
    """U w x x x + U w x x + U w x with the dense tensors, as the paper writes it."""
    results = []
    for part in module.contractions:
        total = 0
        for order, weight in enumerate(part.path_weights(), start=1):
            basis = torch.from_numpy(product_basis(max_ell, part.degree, correlation=order))
            values = torch.einsum("...p,npc->...nc", basis, weight[element])
            for _ in range(order):
                values = torch.einsum("...mnc,mnc->...nc", values, message)
            total = total + values
        results.append(total)
    return results


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("correlation", [1, 2, 3])
def test_it_is_the_contraction_of_the_paper(correlation, backend):
    module = contraction(correlation=correlation)
    message = torch.randn(9, 5, 3, dtype=torch.float64)
    element = torch.tensor([0, 3, 3, 1, 0])
    expected = as_in_the_paper(module, message, element)
    blocks = module(message, atoms_of(element), backend=backend)
    for found, block in zip(blocks, expected, strict=True):
        torch.testing.assert_close(found, block)


def test_weights_have_official_names_and_initial_spread():
    module = SymmetricContraction(3, Layout(64, (0, 1)), correlation=3, num_elements=9)
    shapes = {name: tuple(p.shape) for name, p in module.named_parameters()}
    assert shapes == {
        "contractions.0.weights_max": (9, 23, 64),
        "contractions.0.weights.0": (9, 4, 64),
        "contractions.0.weights.1": (9, 1, 64),
        "contractions.1.weights_max": (9, 51, 64),
        "contractions.1.weights.0": (9, 6, 64),
        "contractions.1.weights.1": (9, 1, 64),
    }
    assert set(module.state_dict()) == set(shapes)
    spread = float(module.get_parameter("contractions.1.weights_max").detach().std())
    assert spread == pytest.approx(1 / 51, rel=0.02)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_basis_from_a_file_is_used_as_it_is(backend):
    """Two files that differ in their paths but not in what they mean give the same."""
    message = torch.randn(9, 5, 3, dtype=torch.float64)
    atoms = atoms_of(torch.tensor([0, 3, 3, 1, 0]))
    module = contraction()
    expected = [block.detach() for block in module(message, atoms, backend="plain")]

    state = module.state_dict()
    for part in module.contractions:
        prefix = f"contractions.{part.degree}"
        names = ["weights.1", "weights.0", "weights_max"]
        for order, name in enumerate(names, start=1):
            basis = product_basis(2, part.degree, correlation=order)
            reduced, mixing = reduced_basis(basis, part.polynomials[order - 1])
            squeezed = reduced[0] if part.degree == 0 else reduced
            state[f"{prefix}.U_matrix_{order}"] = torch.from_numpy(squeezed)
            weight = state[f"{prefix}.{name}"]
            state[f"{prefix}.{name}"] = torch.einsum("qp,epc->eqc", mixing, weight)
    reader = contraction(basis_from_file=True)
    reader.load_state_dict(state)

    assert reader.get_parameter("contractions.1.weights_max").shape[1] < 24
    blocks = reader(message, atoms, backend=backend)
    for found, block in zip(blocks, expected, strict=True):
        torch.testing.assert_close(found, block)
    assert set(reader.state_dict()) == set(state)


def reduced_basis(basis, polynomials):
    """A basis of symmetric tensors with one path for each independent polynomial."""
    order = basis.ndim - 2
    axes = range(1, order + 1)
    symmetric = sum(
        np.moveaxis(basis, axes, permutation) for permutation in permutations(axes)
    )
    columns = symmetric.reshape(-1, basis.shape[-1]) / factorial(order)
    kept = columns @ np.linalg.pinv(polynomials.mixing)
    return kept.reshape(*basis.shape[:-1], -1), torch.from_numpy(polynomials.mixing)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_of_elements_that_are_absent_have_no_gradient(backend):
    module = contraction(correlation=2)
    message = torch.randn(9, 3, 3, dtype=torch.float64)
    atoms = atoms_of(torch.tensor([2, 0, 2]))
    torch.cat(module(message, atoms, backend=backend)).sum().backward()
    for weight in module.parameters():
        assert (weight.grad[[1, 3]] == 0).all()
        assert weight.grad[[0, 2]].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_residual_is_added_after_the_linear_map(backend):
    product = ProductBasis(2, Layout(3, (0, 1)), correlation=2, num_elements=2).double()
    message = torch.randn(9, 4, 3, dtype=torch.float64)
    residual = torch.randn(4, 4, 3, dtype=torch.float64)
    atoms = atoms_of(torch.tensor([0, 1, 1, 0]))
    without = product(message, None, atoms, backend=backend)
    found = product(message, residual, atoms, backend=backend)
    torch.testing.assert_close(found, without + residual)
