import pytest
import torch

from mace_train.model.blocks import deal
from mace_train.model.irreps import Irreps, Layout, o3
from mace_train.model.linear import ElementLinear, Linear


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
    element = torch.tensor([4, 0, 4, 4, 2])
    features = torch.randn(4, 5, 3)
    found = linear(features, deal(element, 5, size=2))
    matrices = linear.weight.view(2, 3, 5, 2) / 15**0.5
    for node, index in enumerate(element.tolist()):
        scalars, vectors = features[:1, node], features[1:, node]
        torch.testing.assert_close(found[:1, node], scalars @ matrices[0, :, index])
        torch.testing.assert_close(found[1:, node], vectors @ matrices[1, :, index])


def test_a_degree_that_the_input_lacks_is_zero():
    linear = ElementLinear(Layout(3, (0,)), Layout(3, (0, 1)), num_elements=2)
    assert linear.weight.numel() == 3 * 2 * 3
    found = linear(torch.randn(1, 4, 3), deal(torch.zeros(4, dtype=torch.int64), 2, size=2))
    assert found.shape == (4, 4, 3)
    assert (found[1:] == 0).all()
