from dataclasses import replace

import numpy as np
import pytest
import torch

from mace_train.exports.comparison import comparison_graphs, predict_model
from mace_train.transfer.heads import with_one_head

ROUNDING = 1e-12  # eV, eV/Å: sums in another order


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("head", ["pbe", "scan", "hse"])
def test_one_head_alone_predicts_what_it_predicted_among_others(small_model, layers, head):
    model = small_model(heads=("pbe", "scan", "hse"), num_interactions=layers)
    alone = with_one_head(model, head)
    assert alone.heads == (head,)
    place = torch.tensor([model.heads.index(head)])
    graphs = comparison_graphs(alone, None)
    among_others = [replace(graph, head=place) for graph in graphs]
    for found, expected in zip(
        predict_model(alone, graphs), predict_model(model, among_others)
    ):
        assert abs(found.energy - expected.energy) < ROUNDING
        assert np.abs(found.forces - expected.forces).max() < ROUNDING


def test_the_model_itself_and_its_dtype_are_kept(small_model):
    model = small_model(heads=("pbe", "scan")).float()
    alone = with_one_head(model, "scan")
    assert model.heads == ("pbe", "scan")
    assert next(alone.parameters()).dtype == torch.float32


def test_an_unknown_head_is_named_with_those_there_are(small_model):
    with pytest.raises(ValueError, match=r"no head 'PBE': it has pbe, scan"):
        with_one_head(small_model(heads=("pbe", "scan")), "PBE")
