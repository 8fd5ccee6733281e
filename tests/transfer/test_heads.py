from dataclasses import replace

import numpy as np
import pytest
import torch

from mace_train.exports.comparison import comparison_graphs, predict_model
from mace_train.transfer.heads import with_new_head, with_one_head

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


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("of", ["pbe", "scan", "hse"])
def test_a_new_head_and_its_parent_predict_what_the_parent_did(
    small_model, graph_of, same_prediction, layers, of
):
    model = small_model(heads=("pbe", "scan", "hse"), num_interactions=layers)
    expected = model(graph_of(model, head=of), compute_stress=True)
    changed = with_new_head(model, "mine", of=of)
    assert changed.heads == ("mine", of)
    for head in ("mine", of):
        found = changed(graph_of(changed, head=head), compute_stress=True)
        same_prediction(found, expected, error=ROUNDING)


@pytest.mark.parametrize("heads", [("pbe",), ("pbe", "scan")])
def test_what_the_new_head_began_with_comes_back_from_it(small_model, heads):
    model = small_model(heads=heads)
    alone = with_one_head(model, "pbe")
    back = with_one_head(with_new_head(model, "mine", of="pbe"), "mine")
    assert back.hyperparameters == {**alone.hyperparameters, "heads": ["mine"]}
    for name, value in alone.state_dict().items():
        found = back.state_dict()[name]
        torch.testing.assert_close(found, value, atol=1e-12, rtol=0, msg=name)


def test_the_readouts_of_the_two_heads_move_apart_in_training(small_model, graph_of):
    model = with_new_head(small_model(heads=("pbe",)), "mine", of="pbe").train()
    model(graph_of(model, head="mine")).energy.sum().backward()
    for readout in model.readouts:
        weights = [(name, p) for name, p in readout.named_parameters()]
        assert all(weight.grad.abs().max() > 0 for _, weight in weights)
    kept = model.readouts[0].linear.weight.grad.view(-1, 2)
    assert kept[:, 0].abs().max() > 0
    assert kept[:, 1].abs().max() == 0


def test_a_new_head_with_the_name_of_another_is_refused(small_model):
    model = small_model(heads=("pbe", "scan"))
    with pytest.raises(ValueError, match=r"already has a head 'scan' \(it has pbe, scan\)"):
        with_new_head(model, "scan", of="pbe")


def test_a_new_head_of_an_unknown_one_is_refused(small_model):
    with pytest.raises(ValueError, match="the model has no head 'hse': it has Default"):
        with_new_head(small_model(), "mine", of="hse")
