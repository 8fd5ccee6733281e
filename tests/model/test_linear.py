import pytest
import torch
from made_neighborhoods import lone_atoms

from mace_train.model.irreps import Irreps, Layout, o3
from mace_train.model.linear import ElementLinear, Linear


def blocks_of(*element):
    return lone_atoms(list(element)).with_tables().tables.elements


@pytest.mark.filterwarnings("ignore:The TorchScript type system:UserWarning")  # e3nn 0.4.4
def test_a_linear_map_is_that_of_e3nn():
    irreps = Irreps("4x0e + 4x1o + 4x2e")
    layout = Layout.from_irreps(str(irreps))
    reference = o3.Linear(irreps, irreps)
    linear = Linear([4, 4, 4], 4)
    with torch.no_grad():
        linear.weight.copy_(reference.weight)
        features = torch.randn(layout.num_components, 6, 4)
        expected = reference(layout.to_e3nn(features))
        found = layout.to_e3nn(linear(layout.split(features)))
    torch.testing.assert_close(found, expected)


def test_an_element_map_multiplies_with_the_matrices_of_the_element():
    layout_in, layout_out = Layout(3, (0, 1)), Layout(2, (0, 1))
    linear = ElementLinear(layout_in, layout_out, num_elements=5)
    element = [4, 0, 4, 4, 2, *[4] * 9]  # more of one than fit into a block
    features = torch.randn(4, len(element), 3)
    found = linear(features, blocks_of(*element))
    matrices = linear.weight.view(2, 3, 5, 2) / 15**0.5
    for node, index in enumerate(element):
        scalars, vectors = features[:1, node], features[1:, node]
        torch.testing.assert_close(found[:1, node], scalars @ matrices[0, :, index])
        torch.testing.assert_close(found[1:, node], vectors @ matrices[1, :, index])


def test_a_degree_that_the_input_lacks_is_zero():
    linear = ElementLinear(Layout(3, (0,)), Layout(3, (0, 1)), num_elements=2)
    assert linear.weight.numel() == 3 * 2 * 3
    found = linear(torch.randn(1, 4, 3), blocks_of(0, 0, 0, 0))
    assert found.shape == (4, 4, 3)
    assert (found[1:] == 0).all()


def test_no_atoms_have_no_features_and_elements_that_are_absent_no_gradient():
    linear = ElementLinear(Layout(3, (0, 1)), Layout(2, (0, 1)), num_elements=5)
    assert linear(torch.zeros(4, 0, 3), blocks_of()).shape == (4, 0, 2)
    linear(torch.randn(4, 2, 3), blocks_of(3, 1)).sum().backward()
    gradient = linear.weight.grad.view(2, 3, 5, 2)
    assert (gradient[:, :, [0, 2, 4]] == 0).all()
    assert (gradient[:, :, [1, 3]] != 0).all()
