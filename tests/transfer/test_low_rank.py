"""Low-rank updates: nothing changes at first, and what they learn becomes a plain model."""

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mace_train.model.rebuild import rebuild_model
from mace_train.transfer.elements import keep_elements
from mace_train.transfer.heads import with_new_head
from mace_train.transfer.low_rank import (
    LowRankUpdate,
    add_low_rank_updates,
    has_updates,
    merge,
    plain_name,
    plain_state,
)
from mace_train.transfer.trainable import num_trainable

KINDS = ["plain", "residual", "density", "density_residual"]
MERGED = {torch.float32: 1e-6, torch.float64: 1e-10}


@pytest.fixture
def updated_model(small_model):
    """Gives a model whose updates have learned something."""

    def make(*, rank=2, dtype=torch.float64, trained=True, **changes):
        model = small_model(**{"hidden_irreps": "8x0e + 8x1o", **changes}).to(dtype)
        add_low_rank_updates(model, rank=rank, seed=5)
        if trained:
            learn(model)
        return model

    return make


def learn(model, size=0.1):
    random = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                shape = parameter.shape
                step = torch.randn(shape, generator=random, dtype=torch.float64)
                parameter.add_(size * step.to(parameter.dtype))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["plain", "chunked"])
def test_predictions_are_the_same_numbers_until_the_updates_learn(
    small_model, graph_of, kind, backend
):
    model = small_model(first_interaction=kind, interaction=kind, backend=backend)
    graph = graph_of(model)
    before = model(graph, compute_stress=True)
    add_low_rank_updates(model, rank=2, seed=0)
    after = model(graph, compute_stress=True)
    for name in ("energy", "forces", "stress"):
        assert torch.equal(getattr(after, name), getattr(before, name)), name
    learn(model)
    assert (model(graph).forces - before.forces).abs().max() > 1e-3


def test_every_weight_has_an_update_and_only_the_updates_move(small_model):
    plain = small_model(interaction="density_residual", correlation=3)
    names = [name for name, _ in plain.named_parameters()]
    model = copy.deepcopy(plain)
    add_low_rank_updates(model, rank=2, seed=0)
    moving = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {plain_name(name) for name in moving} == set(names)
    for name, parameter in model.named_parameters():
        is_update = ".blocks." in name
        assert parameter.requires_grad is is_update, name
    assert has_updates(model)
    assert not has_updates(plain)


def test_a_wide_model_has_far_fewer_numbers_that_move(small_model):
    changes = {"hidden_irreps": "32x0e + 32x1o", "radial_mlp": [32, 32]}
    model = small_model(**changes)
    whole = num_trainable(model)
    add_low_rank_updates(model, rank=2, seed=0)
    assert num_trainable(model) < whole / 4
    weight = model.interactions[0].skip_tp.parametrizations.weight[0]
    assert sum(p.numel() for p in weight.parameters()) == 3 * 2 * (32 + 32)


def test_a_matrix_that_a_product_would_not_shorten_has_one_full_update(small_model):
    model = small_model()
    add_low_rank_updates(model, rank=2, seed=0)
    for layer, parts in ((model.interactions[0].linear, {"full"}), (None, {"a", "b"})):
        if layer is None:
            wide = small_model(hidden_irreps="8x0e")
            add_low_rank_updates(wide, rank=2, seed=0)
            layer = wide.interactions[0].linear
        update = layer.parametrizations.weight[0]
        names = {name.rsplit(".", 1)[1] for name, _ in update.named_parameters()}
        assert names == parts


def test_an_update_is_the_product_over_the_root_of_the_rank():
    update = LowRankUpdate([(1, 6, 5)], rank=2, random=torch.Generator().manual_seed(0))
    a, b = update.blocks[0].a, update.blocks[0].b
    assert a.shape == (1, 6, 2)
    assert b.shape == (1, 2, 5)
    torch.nn.init.normal_(b)
    weight = torch.randn(30)
    expected = weight.view(6, 5) + (a @ b)[0] / 2**0.5
    torch.testing.assert_close(update(weight).view(6, 5), expected)


def test_the_update_of_an_element_changes_that_element_alone(small_model, graph_of):
    model = small_model(hidden_irreps="8x0e + 8x1o")
    add_low_rank_updates(model, rank=2, seed=0)
    graph = graph_of(model, [8, 14])  # and no hydrogen
    model.train()(graph).forces.square().sum().backward()
    layers = [*model.interactions, *model.products, model.node_embedding]
    moved = 0
    for layer in layers:
        for name, parameter in layer.named_parameters():
            if parameter.requires_grad and len(parameter) == 3:
                assert parameter.grad[0].abs().max() == 0, name
                moved += bool(parameter.grad[1:].abs().max() > 0)
    assert moved >= 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", MERGED)
def test_the_merged_model_predicts_the_same(
    updated_model, graph_of, same_prediction, kind, dtype
):
    model = updated_model(
        dtype=dtype, first_interaction=kind, interaction=kind, correlation=3
    )
    merged = merge(model)
    assert not has_updates(merged)
    assert has_updates(model)
    assert next(merged.parameters()).dtype == dtype
    graph = graph_of(model)
    found, expected = (one(graph, compute_stress=True) for one in (merged, model))
    same_prediction(found, expected, error=MERGED[dtype])
    names = {plain_name(name) for name, _ in model.named_parameters()}
    assert {name for name, _ in merged.named_parameters()} == names


@pytest.mark.parametrize("backend", ["plain", "chunked"])
def test_it_obeys_the_laws_of_physics(updated_model, check_laws, backend):
    check_laws(updated_model(interaction="density_residual", backend=backend))


def test_backends_agree_on_gradients_of_the_updates(updated_model, graph_of):
    model = updated_model(first_interaction="density", interaction="density_residual")
    graph = graph_of(model)
    found = {}
    for backend in ("plain", "chunked"):
        model.backend = backend
        model.train().zero_grad()
        prediction = model(graph, compute_stress=True)
        (prediction.forces.square().sum() + prediction.stress.square().sum()).backward()
        found[backend] = {name: p.grad for name, p in model.named_parameters()}
    for name, gradient in found["plain"].items():
        assert (gradient is None) == name.endswith(".original"), name
        if gradient is not None:
            other = found["chunked"][name]
            torch.testing.assert_close(other, gradient, atol=1e-10, rtol=1e-10, msg=name)


def test_a_state_without_updates_comes_back_as_it_is(small_model):
    state = small_model().state_dict()
    plain = plain_state(state)
    assert list(plain) == list(state)
    assert all(plain[name] is state[name] for name in state)


def test_the_plain_state_makes_the_merged_model_without_the_model(updated_model, graph_of):
    model = updated_model(heads=("pbe", "scan"))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    rebuilt = rebuild_model(model.hyperparameters, plain_state(state))
    graph = graph_of(model, head="scan")
    torch.testing.assert_close(rebuilt(graph).forces, model(graph).forces)


def test_a_copy_learns_by_itself(updated_model, graph_of):
    model = updated_model()
    graph = graph_of(model)
    before = model(graph).energy
    copied = copy.deepcopy(model)
    assert torch.equal(copied(graph).energy, before)
    learn(copied)
    assert not torch.equal(copied(graph).energy, before)
    assert torch.equal(model(graph).energy, before)
    merge(copied)  # and merging it leaves both as they are
    assert has_updates(copied)
    assert torch.equal(model(graph).energy, before)
    assert has_updates(model)


def test_a_merged_model_can_be_pickled(updated_model, graph_of):
    merged = merge(updated_model())
    again = pickle.loads(pickle.dumps(merged))
    graph = graph_of(merged)
    assert torch.equal(again(graph).energy, merged(graph).energy)


def test_state_dict_and_dtype_follow_the_rules_of_modules(updated_model, graph_of):
    model = updated_model()
    other = updated_model(trained=False)
    graph = graph_of(model)
    assert not torch.equal(other(graph).energy, model(graph).energy)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(graph).energy, model(graph).energy)
    assert {p.dtype for p in model.float().parameters()} == {torch.float32}
    assert model(graph_of(model)).forces.dtype == torch.float32
    assert model.hyperparameters == other.hyperparameters


def test_a_product_basis_of_a_file_goes_on_with_its_updates(updated_model, graph_of):
    model = updated_model(product_basis="file", correlation=3)
    other = updated_model(product_basis="file", correlation=3, trained=False)
    other.load_state_dict(model.state_dict())
    graph = graph_of(model)
    assert torch.equal(other(graph).energy, model(graph).energy)
    torch.testing.assert_close(merge(model)(graph).forces, model(graph).forces)


def test_a_seed_gives_the_same_updates_whatever_was_drawn_before(small_model):
    drawn = []
    for seed in (3, 3, 4):
        model = small_model(hidden_irreps="8x0e")
        before = torch.get_rng_state()
        add_low_rank_updates(model, rank=2, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        drawn.append(model.interactions[1].linear.parametrizations.weight[0].blocks[0].a)
        torch.randn(3)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_it_works_after_the_other_changes(small_model, graph_of):
    model = with_new_head(keep_elements(small_model(), [8, 14]), "mine", of="Default")
    graph = graph_of(model, head="Default")
    before = model(graph).forces
    add_low_rank_updates(model, rank=1, seed=0)
    assert torch.equal(model(graph).forces, before)


@pytest.mark.slow
def test_the_compiler_traces_weights_that_are_computed(small_model):
    """In a process of its own: type checks of the tests cannot be compiled."""
    script = Path(__file__).with_name("compile_updates.py")
    arguments = json.dumps(small_model().hyperparameters)
    done = subprocess.run(
        [sys.executable, str(script), arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["error"] < 1e-12 < 1e-6 < found["learned"], found


@pytest.mark.parametrize("rank", [0, -2])
def test_a_rank_is_positive(small_model, rank):
    with pytest.raises(ValueError, match=f"is {rank}: it must be at least 1"):
        add_low_rank_updates(small_model(), rank=rank, seed=0)


def test_a_model_is_updated_once(updated_model):
    with pytest.raises(ValueError, match="has low-rank updates already: merge them first"):
        add_low_rank_updates(updated_model(), rank=2, seed=0)
