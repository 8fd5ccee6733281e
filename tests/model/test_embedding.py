import torch

from mace_train.model.embedding import NodeEmbedding


def test_each_atom_has_the_row_of_its_element():
    embedding = NodeEmbedding(3, 2)
    element = torch.tensor([2, 0, 2])
    one_hot = torch.nn.functional.one_hot(element, 3).to(embedding.linear.weight.dtype)
    expected = one_hot @ embedding.linear.weight.view(3, 2) / 3**0.5
    torch.testing.assert_close(embedding(element), expected[None])
