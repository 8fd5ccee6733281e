import math

import pytest
import torch

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
    paths = Convolution(Layout(1, (0, 1)), 2).paths
    assert paths == [
        *[(0, 0, 0), (1, 1, 0)],
        *[(0, 1, 1), (1, 0, 1), (1, 2, 1)],
        *[(0, 2, 2), (1, 1, 2)],
    ]


@pytest.mark.parametrize("degrees", [(0,), (0, 1), (0, 2)])
def test_it_sums_coupled_products_over_neighbors(degrees, crystal):
    elements = ElementTable((1, 8, 14))
    graph = AtomicGraph.from_atoms(crystal, elements=elements, r_max=3.0)
    edges = Neighborhoods.of(graph)
    layout, max_ell = Layout(3, degrees), 2
    convolution = Convolution(layout, max_ell)
    features = torch.randn(layout.num_components, graph.num_nodes, 3, dtype=torch.float64)
    hidden = torch.randn(edges.sender.shape[0], 4, dtype=torch.float64)
    hidden[edges.edge_vectors.norm(dim=1) > 3.0] = 0
    matrix = torch.randn(4, convolution.num_weights, dtype=torch.float64)
    harmonics = spherical_harmonics(edges.edge_vectors, max_ell)

    found = convolution(features, hidden, matrix, harmonics, edges)

    weights = (hidden @ matrix).view(-1, len(convolution.paths), 3)
    blocks = dict(zip(degrees, layout.split(features)))
    expected = [[] for _ in range(max_ell + 1)]
    for index, (l1, l2, l3) in enumerate(convolution.paths):
        symbol = torch.from_numpy(wigner_3j(l1, l2, l3)) * math.sqrt(2 * l3 + 1)
        sender = blocks[l1][:, edges.sender]
        y = harmonics[:, l2**2 : (l2 + 1) ** 2]
        message = torch.einsum("ijk,iec,ej,ec->kec", symbol, sender, y, weights[:, index])
        zeros = torch.zeros(2 * l3 + 1, graph.num_nodes, 3, dtype=torch.float64)
        expected[l3].append(zeros.index_add(1, edges.receiver, message))
    for block, parts in zip(found, expected):
        torch.testing.assert_close(block, torch.cat(parts, dim=2))
