"""Which blocks move, and that the gradients of those that do are right in every backend."""

import pytest
import torch

from mace_train.transfer.trainable import num_trainable, set_trainable

BLOCKS = [
    ["node_embedding"],
    ["interactions"],
    ["products"],
    ["readouts"],
    ["interactions.1", "products.0"],
    ["interactions.0.conv_tp_weights"],
    ["interactions.0.conv_tp_weights.layer0"],
    ["interactions.1.conv_tp_weights.layer1"],
    ["interactions.0.linear_up", "interactions.1.linear"],
    ["interactions.0.skip_tp", "interactions.1.density_fn"],
    ["products.1.linear", "readouts.1"],
    ["products.0.symmetric_contractions.contractions.0.weights_max"],
]


@pytest.mark.parametrize("blocks", BLOCKS, ids=", ".join)
def test_the_named_blocks_move_and_nothing_else(small_model, blocks):
    model = small_model(first_interaction="density", interaction="density_residual")
    moving = set_trainable(model, blocks)
    assert moving == [name for name, p in model.named_parameters() if p.requires_grad]
    assert 0 < len(moving) < len(list(model.parameters()))
    for name in moving:
        assert any(f"{name}.".startswith(f"{block}.") for block in blocks)
    for block in blocks:
        assert any(f"{name}.".startswith(f"{block}.") for name in moving)


def test_blocks_that_moved_before_are_frozen(small_model):
    model = small_model()
    whole = num_trainable(model)
    readouts = set_trainable(model, ["readouts"])
    few = num_trainable(model)
    assert few == sum(p.numel() for p in model.readouts.parameters())
    assert set_trainable(model, ["products"]) != readouts
    everything = ["node_embedding", "interactions", "products", "readouts"]
    set_trainable(model, everything)
    assert num_trainable(model) == whole > few


@pytest.mark.parametrize("odd", ["readout", "interactions.2", "products.0.lin"])
def test_an_unknown_block_is_refused_with_those_there_are(small_model, odd):
    model = small_model()
    with pytest.raises(ValueError, match="has no block") as error:
        set_trainable(model, ["readouts", odd])
    text = str(error.value)
    assert repr(odd) in text
    listed = "node_embedding, interactions, interactions.0, interactions.1, products, "
    assert listed + "products.0, products.1, readouts, readouts.0, readouts.1" in text
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_something_has_to_move(small_model):
    with pytest.raises(ValueError, match="no block is to move: name some of"):
        set_trainable(small_model(), [])


def gradients(model, graph, backend, *, compute_stress):
    model.backend = backend
    model.train().zero_grad()
    prediction = model(graph, compute_forces=compute_stress, compute_stress=compute_stress)
    loss = prediction.energy.square().sum()
    if compute_stress:
        loss = loss + prediction.forces.square().sum() + prediction.stress.square().sum()
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("compute_stress", [True, False])
@pytest.mark.parametrize("blocks", BLOCKS, ids=", ".join)
def test_gradients_of_what_moves_are_those_of_the_whole_model_in_both_backends(
    small_model, graph_of, blocks, compute_stress
):
    model = small_model(
        correlation=3,
        radial_mlp=[8, 6],
        first_interaction="density",
        interaction="density_residual",
    )
    graph = graph_of(model)
    asked = {"compute_stress": compute_stress}
    whole = gradients(model, graph, "plain", **asked)
    moving = set_trainable(model, blocks)
    assert any(whole[name].abs().max() > 1e-6 for name in moving)
    for backend in ("plain", "chunked"):
        found = gradients(model, graph, backend, **asked)
        for name in whole:
            if name not in moving:
                assert found[name] is None, name
                continue
            error = 1e-10 * max(1.0, whole[name].abs().max().item())
            torch.testing.assert_close(found[name], whole[name], atol=error, rtol=0)
