"""Runs of a model with low-rank updates, and of one that is mostly frozen."""

import copy

import pytest
import torch
from pair_potential import ELEMENTS, R_MAX, Frames, make_frame, make_module, train

from mace_train.checkpoints.model_file import load_model
from mace_train.graph import AtomicGraph
from mace_train.model.mace import MACE
from mace_train.training import physics_callback
from mace_train.training.ema import WeightAverage
from mace_train.training.optim import decays
from mace_train.transfer.low_rank import add_low_rank_updates, has_updates, merge
from mace_train.transfer.trainable import set_trainable

FRAMES = [make_frame(index) for index in range(15)]


def _plain_model() -> MACE:
    torch.manual_seed(3)
    model = MACE(
        hidden_irreps="8x0e + 8x1o",
        max_ell=2,
        correlation=2,
        num_interactions=2,
        r_max=R_MAX,
        num_radial_basis=4,
        cutoff_p=5,
        radial_mlp=[8],
        readout_hidden_irreps="4x0e",
        first_interaction="density",
        interaction="density_residual",
        distance_transform="none",
        pair_repulsion=False,
        atomic_numbers=ELEMENTS.atomic_numbers,
        atomic_energies=[-1.0, -2.0],
        avg_num_neighbors=5.5,
        scale=0.7,
        shift=0.1,
    )
    return model.double()


def _updated_model() -> MACE:
    model = _plain_model()
    add_low_rank_updates(model, rank=2, seed=0)
    return model


def _partly_frozen_model() -> MACE:
    model = _plain_model()
    set_trainable(model, ["products.1", "readouts"])
    return model


MODELS = {"updates": _updated_model, "frozen": _partly_frozen_model}


def _fit(folder, model, *, max_epochs, checkpoint=None, **options):
    torch.set_num_threads(1)
    module = make_module(model, **options)
    frames = Frames(FRAMES[:11], FRAMES[11:])
    train(module, frames, folder, max_epochs=max_epochs, checkpoint=checkpoint)
    return module


def _assert_equal(one, other, path=""):
    """Bit for bit, whatever is nested."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            _assert_equal(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), path
        for place, pair in enumerate(zip(one, other)):
            _assert_equal(*pair, f"{path}/{place}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    else:
        assert one == other or (one != one and other != other), path


def _entry(folder, name="last"):
    return torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True)


def _predictions(model):
    model = copy.deepcopy(model).eval()
    prediction = model(AtomicGraph.batch(FRAMES), compute_stress=True)
    return prediction.energy, prediction.forces, prediction.stress


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("decay", [0.9, None])
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(tmp_path, kind, decay):
    make, options = MODELS[kind], {"ema": WeightAverage(decay=decay)}
    _fit(tmp_path / "whole", make(), max_epochs=4, **options)
    _fit(tmp_path / "parts", make(), max_epochs=2, **options)
    last = tmp_path / "parts/checkpoints/last.ckpt"
    _fit(tmp_path / "parts", make(), max_epochs=4, checkpoint=last, **options)
    for name in ("last", "best"):
        one, other = (_entry(tmp_path / run, name) for run in ("whole", "parts"))
        for key in ("mace_train", "state_dict", "optimizer_states", "global_step"):
            _assert_equal(one[key], other[key], f"{name}/{key}")


@pytest.mark.parametrize("decay", [0.9, None])
def test_the_checkpoint_is_read_as_the_plain_model_of_the_averaged_updates(tmp_path, decay):
    options = {"ema": WeightAverage(decay=decay)}
    module = _fit(tmp_path, _updated_model(), max_epochs=2, **options)
    read = load_model(tmp_path / "checkpoints/last.ckpt")
    assert not has_updates(read)
    assert read.hyperparameters == _plain_model().hyperparameters
    if module.averaged is None:
        expected = _predictions(module.model)
    else:
        raw = _predictions(module.model)
        with module.averaged.swapped_in():
            expected = _predictions(module.model)
        assert (raw[1] - expected[1]).abs().max() > 1e-6
    for one, other in zip(_predictions(read), expected):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=0)
    before = _predictions(_plain_model())
    assert (expected[1] - before[1]).abs().max() > 1e-3


def test_the_best_checkpoint_is_a_plain_model_too(tmp_path):
    _fit(tmp_path, _updated_model(), max_epochs=2)
    best = load_model(tmp_path / "checkpoints/best.ckpt", dtype=torch.float32)
    names = [name for name, _ in _plain_model().named_parameters()]
    assert [name for name, _ in best.named_parameters()] == names


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_frozen_stays_bit_for_bit(tmp_path, kind):
    start = MODELS[kind]()
    before = {name: value.clone() for name, value in start.state_dict().items()}
    module = _fit(tmp_path, start, max_epochs=2)
    state = module.model.state_dict()
    moving = {name for name, p in module.model.named_parameters() if p.requires_grad}
    assert moving
    for name, value in state.items():
        if name not in moving:
            assert torch.equal(value, before[name]), name
    moved = {name for name in moving if not torch.equal(state[name], before[name])}
    assert len(moved) > len(moving) / 2
    optimizer = _entry(tmp_path)["optimizer_states"][0]
    assert len(optimizer["state"]) == len(moving)


def test_a_checkpoint_with_updates_is_not_taken_for_one_without(tmp_path):
    _fit(tmp_path, _updated_model(), max_epochs=1)
    last = tmp_path / "checkpoints/last.ckpt"
    with pytest.raises(ValueError, match="belongs to another model"):
        _fit(tmp_path, _plain_model(), max_epochs=2, checkpoint=last)


def test_an_update_decays_where_its_weight_does():
    decaying = {name for name, _ in _plain_model().named_parameters() if decays(name)}
    found = set()
    for name, parameter in _updated_model().named_parameters():
        if parameter.requires_grad and decays(name):
            found.add(name.replace("parametrizations.", "").split(".0.blocks.")[0])
    assert found == decaying


def test_the_physics_is_checked_on_the_merged_averaged_model(tmp_path):
    module = _fit(tmp_path, _updated_model(), max_epochs=1)
    potential = physics_callback._potential(module, None)
    with module.averaged.swapped_in():
        expected = merge(module.model)
    found = potential.calculator.models[0]
    assert not has_updates(found)
    assert has_updates(module.model)
    for one, other in zip(_predictions(found), _predictions(expected)):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=0)
