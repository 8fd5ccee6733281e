import math

import pytest
import torch
from made_neighborhoods import GRAPHS, some_graph
from optional_backends import BACKENDS, NEEDS_CUEQUIVARIANCE

from mace_train.elements import ElementTable
from mace_train.graph import AtomicGraph
from mace_train.model.convolution import Convolution
from mace_train.model.irreps import Layout, spherical_harmonics
from mace_train.model.neighborhoods import Neighborhoods
from mace_train.model.wigner import wigner_3j


@pytest.mark.parametrize(
    ("degrees", "max_ell", "num_paths"),
    [((0,), 3, 4), ((0, 1), 3, 10), ((0, 1, 2), 3, 17), ((0, 1), 2, 7)],
)
def test_the_number_of_radial_weights_is_that_of_official_files(
    degrees, max_ell, num_paths
):
    assert Convolution(Layout(128, degrees), max_ell).num_weights == num_paths * 128


def test_paths_are_ordered_by_message_then_sender_then_edge():
    convolution = Convolution(Layout(1, (0, 1)), 2)
    assert [path.degrees for path in convolution.paths] == [
        *[(0, 0, 0), (1, 1, 0)],
        *[(0, 1, 1), (1, 0, 1), (1, 2, 1)],
        *[(0, 2, 2), (1, 1, 2)],
    ]


def as_in_the_paper(convolution, features, weights, harmonics, graph):
    """Clebsch-Gordan, radial weights, harmonics and senders, multiplied edge by edge."""
    layout = convolution.layout
    sender, receiver = graph.edge_index
    blocks = dict(zip(layout.degrees, layout.split(features)))
    expected = [[] for _ in range(convolution.max_ell + 1)]
    for index, path in enumerate(convolution.paths):
        l1, l2, l3 = path.degrees
        symbol = torch.from_numpy(wigner_3j(l1, l2, l3)) * math.sqrt(2 * l3 + 1)
        of_sender = blocks[l1][:, sender]
        y = harmonics[:, l2**2 : (l2 + 1) ** 2]
        message = torch.einsum(
            "ijk,iec,ej,ec->kec", symbol, of_sender, y, weights[:, index]
        )
        zeros = torch.zeros(2 * l3 + 1, graph.num_nodes, 3, dtype=torch.float64)
        expected[l3].append(zeros.index_add(1, receiver, message))
    return [torch.cat(parts, dim=2) for parts in expected]


@pytest.mark.parametrize(
    ("backend", "alike"),
    [
        ("plain", False),
        ("chunked", False),
        ("chunked", True),
        pytest.param("cuequivariance", True, marks=NEEDS_CUEQUIVARIANCE),
    ],
)
@pytest.mark.parametrize("degrees", [(0,), (0, 1), (0, 2)])
@pytest.mark.parametrize("awkward", [False, True])
def test_it_sums_coupled_products_over_neighbors(degrees, backend, alike, awkward, crystal):
    elements = ElementTable((1, 8, 14))
    graph = AtomicGraph.from_atoms(crystal, elements=elements, r_max=3.0)
    graph = some_graph() if awkward else graph
    edges = Neighborhoods.of(graph)
    layout, max_ell = Layout(3, degrees), 2
    convolution = Convolution(layout, max_ell, alike_by_element=alike)
    features = torch.randn(layout.num_components, graph.num_nodes, 3, dtype=torch.float64)
    if alike:
        features = features[:, :1] * (1 + graph.element_index[:, None])
    hidden = torch.randn(edges.pair_sender.shape[0], 4, dtype=torch.float64)
    matrix = torch.randn(4, convolution.num_weights, dtype=torch.float64)
    harmonics = spherical_harmonics(edges.pair_vectors, max_ell)

    found = convolution(features, hidden, matrix, harmonics, edges, backend=backend)

    vectors = edges.of_edges(edges.pair_vectors) * edges.tables.edge_sign[:, None]
    weights = (edges.of_edges(hidden) @ matrix).view(graph.num_edges, -1, 3)
    of_edges = spherical_harmonics(vectors, max_ell)
    expected = as_in_the_paper(convolution, features, weights, of_edges, graph)
    for block, other in zip(found, expected, strict=True):
        torch.testing.assert_close(block, other)


def test_only_scalars_can_be_alike_by_element():
    assert Convolution(Layout(3, (0,)), 2, alike_by_element=True).alike_by_element
    assert not Convolution(Layout(3, (0, 1)), 2, alike_by_element=True).alike_by_element


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("name", ["no edges", "no atoms"])
def test_atoms_without_neighbors_hear_nothing(name, alike, backend):
    graph = GRAPHS[name]()
    edges = Neighborhoods.of(graph)
    convolution = Convolution(Layout(3, (0,)), 2, alike_by_element=alike).double()
    given = (1, graph.num_nodes, 3), (0, 4), (4, convolution.num_weights), (0, 9)
    given = [torch.ones(shape, dtype=torch.float64) for shape in given]
    for degree, block in enumerate(convolution(*given, edges, backend=backend)):
        assert block.shape == (2 * degree + 1, graph.num_nodes, 3)
        assert (block == 0).all()
