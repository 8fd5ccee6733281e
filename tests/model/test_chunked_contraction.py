import pytest
import torch
import twice_differentiable as laws
from made_neighborhoods import GRAPHS, lone_atoms

from mace_train.model.chunked_contraction import ContractionTask, contract
from mace_train.model.irreps import Layout
from mace_train.model.neighborhoods import Neighborhoods
from mace_train.model.symmetric_contraction import SymmetricContraction

ATOMS = [2, 0, 2, 3, 0, 2, 2]
WEIGHTS = 1  # place of the parameters among the inputs


def module_of(correlation=3, *, max_ell=1, degrees=(0, 1), channels=2):
    layout = Layout(channels, degrees)
    given = {"correlation": correlation, "num_elements": 4}
    return SymmetricContraction(max_ell, layout, **given).double()


def operation_of(module, atoms):
    """The contraction as a function of weights, on whose symmetry its derivatives rely."""
    task = ContractionTask(module.forms, atoms.tables.elements, atoms.scope)

    def contracted(message, weights):
        return contract(task, message, module.entry_weights @ weights.transpose(0, 1))

    return contracted


def reference_of(module, atoms):
    """Polynomials of the message under plain autograd, as their definition says."""
    place = torch.searchsorted(atoms.tables.elements.present, atoms.element_index)

    def contracted(message, weights):
        results, first = [], 0
        for contraction in module.contractions:
            total = 0
            for polynomials in contraction.polynomials:
                coefficients = torch.from_numpy(polynomials.coefficients)
                factors = torch.from_numpy(polynomials.monomials)
                last = first + coefficients.shape[1]
                monomials, weight = message[factors].prod(dim=1), weights[first:last, place]
                total = total + torch.einsum(
                    "rpm,mnc,pnc->rnc", coefficients, monomials, weight
                )
                first = last
            results.append(total)
        return torch.cat(results)

    return contracted


def inputs_for(module, atoms):
    channels, num_weights = module.layout_out.channels, module.entry_weights.shape[1]
    num_present = len(atoms.tables.elements.counts)
    shapes = (
        (module.num_components, atoms.num_nodes, channels),
        (num_weights, num_present, channels),
    )
    return [torch.randn(shape, dtype=torch.float64) for shape in shapes]


@pytest.fixture
def atoms():
    return Neighborhoods.of(lone_atoms(ATOMS))


@pytest.mark.parametrize("correlation", [1, 2, 3])
@pytest.mark.parametrize(
    ("max_ell", "degrees", "channels"),
    [(0, (0,), 2), (2, (0, 1), 3), (2, (0, 2), 1), (3, (0, 1, 2), 2), (1, (0, 1), 70)],
)
def test_values_and_derivatives_are_those_of_the_polynomials(
    correlation, max_ell, degrees, channels, atoms
):
    module = module_of(correlation, max_ell=max_ell, degrees=degrees, channels=channels)
    operation, reference = (f(module, atoms) for f in (operation_of, reference_of))
    laws.check_agreement(operation, reference, inputs_for(module, atoms))


@pytest.mark.parametrize("correlation", [1, 2, 3])
def test_derivatives_are_those_of_finite_differences(correlation):
    module, atoms = module_of(correlation), Neighborhoods.of(lone_atoms([2, 0, 2, 2]))
    laws.check_derivatives(operation_of(module, atoms), inputs_for(module, atoms))


@pytest.mark.parametrize("correlation", [1, 2, 3])
def test_third_derivatives_raise(correlation, atoms):
    module = module_of(correlation)
    inputs = inputs_for(module, atoms)
    laws.check_third_derivatives_raise(operation_of(module, atoms), inputs)


def test_gradients_by_parameters_are_left_out_where_not_wanted(atoms):
    module = module_of()

    def operation_in(parameters):
        atoms.scope.parameters = parameters
        return operation_of(module, atoms)

    inputs = inputs_for(module, atoms)
    laws.check_scope(operation_in, inputs, parameters=[WEIGHTS])


def test_no_atoms_have_no_results():
    module, atoms = module_of(), Neighborhoods.of(GRAPHS["no atoms"]())
    found = laws.derivatives(operation_of(module, atoms), inputs_for(module, atoms))
    assert found[0].shape == (4, 0, 2)
    assert not any(tensor.any() for tensor in found)
