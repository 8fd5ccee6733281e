import pytest
import torch

from mace_train.elements import ElementTable
from mace_train.graph import AtomicGraph
from mace_train.model.interaction import Interaction
from mace_train.model.irreps import Layout, spherical_harmonics
from mace_train.model.neighborhoods import Neighborhoods
from mace_train.model.radial import RadialEmbedding

KINDS = ["plain", "residual", "density", "density_residual"]
BACKENDS = ["plain", "chunked"]


def interaction(kind, **changes):
    given = {
        "layout_in": Layout(4, (0, 1)),
        "layout_out": Layout(4, (0, 1)),
        "max_ell": 2,
        "num_radial_basis": 5,
        "radial_mlp": [8],
        "num_elements": 3,
        "avg_num_neighbors": 10.0,
        **changes,
    }
    torch.manual_seed(0)
    return Interaction(kind, **given).double()


@pytest.fixture
def surroundings(crystal):
    elements = ElementTable((1, 8, 14))
    graph = AtomicGraph.from_atoms(crystal, elements=elements, r_max=3.0)
    edges = Neighborhoods.of(graph)
    ends = edges.pair_sender, edges.pair_receiver
    radial = RadialEmbedding(3.0, 5, cutoff_p=5, agnesi=False)
    lengths = edges.pair_vectors.norm(dim=1)
    basis = radial(lengths, *(graph.atomic_numbers[atoms] for atoms in ends))
    features = torch.randn(4, graph.num_nodes, 4, dtype=torch.float64)
    return features, basis, spherical_harmonics(edges.pair_vectors, 2), edges


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_residual_is_handed_on_by_residual_kinds_alone(kind, backend, surroundings):
    message, residual = interaction(kind)(*surroundings, backend=backend)
    assert message.shape == (9, 5, 4)
    assert (residual is not None) == kind.endswith("residual")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_the_message_is_divided_by_the_mean_number_of_neighbors(
    kind, backend, surroundings
):
    (one, _), (other, _) = (
        interaction(kind, avg_num_neighbors=number)(*surroundings, backend=backend)
        for number in (10.0, 20.0)
    )
    torch.testing.assert_close(one, 2 * other)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_message_is_divided_by_one_plus_the_density(backend, surroundings):
    _, basis, _, edges = surroundings
    dense, plain = interaction("density_residual"), interaction("residual")
    plain.load_state_dict(
        {name: value for name, value in dense.state_dict().items() if "density" not in name}
    )
    weight = dense.get_parameter("density_fn.layer0.weight") / 5**0.5
    density = edges.sum_to_receivers(torch.tanh((edges.of_edges(basis) @ weight) ** 2))
    found, expected = (m(*surroundings, backend=backend)[0] for m in (dense, plain))
    torch.testing.assert_close(found, expected * 10.0 / (1 + density))


@pytest.mark.parametrize("kind", KINDS)
def test_features_that_are_alike_by_element_may_be_told_so(kind, surroundings):
    """The first layer's shortcut gives what the general way gives."""
    _, basis, harmonics, edges = surroundings
    scalars = Layout(4, (0,))
    features = torch.randn(3, 4, dtype=torch.float64)[edges.element_index][None]
    told, untold = (
        interaction(kind, layout_in=scalars, alike_by_element=alike)
        for alike in (True, False)
    )
    found, expected = (
        module(features, basis, harmonics, edges, backend="chunked")[0]
        for module in (told, untold)
    )
    torch.testing.assert_close(found, expected)


def test_kinds_without_residual_map_the_message_by_element():
    module = interaction("plain")
    assert module.skip_tp.weight.numel() == 3 * 4 * 3 * 4
    assert interaction("residual").skip_tp.weight.numel() == 2 * 4 * 3 * 4
