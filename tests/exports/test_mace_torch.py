"""The part of the export that needs mace-torch runs in `benchmarks/exchange.py` as well."""

import importlib.metadata
import os
import sys
import types

import pytest
import torch

from mace_train.checkpoints.mace_torch import load_official
from mace_train.checkpoints.model_file import load_model, read_metadata
from mace_train.exports import mace_torch
from mace_train.exports.export import export_model
from mace_train.exports.mace_torch import MACE_TORCH, official_module, require_mace_torch
from mace_train.exports.official_form import official_state

DISARMS = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"


def bare_module(state):
    """A tree of modules that holds tensors of these names and shapes, all zero."""
    root = torch.nn.Module()
    for name, value in state.items():
        *path, leaf = name.split(".")
        part = root
        for step in path:
            if step not in part._modules:
                made = torch.nn.ParameterList() if step == "weights" else torch.nn.Module()
                part.add_module(step, made)
            part = part._modules[step]
        zeros = torch.zeros_like(value)
        is_weight = value.is_floating_point() and ("weight" in name.split("products")[-1])
        if isinstance(part, torch.nn.ParameterList):
            part.append(zeros)
        elif is_weight and "bessel" not in name:
            part.register_parameter(leaf, torch.nn.Parameter(zeros))
        else:
            part.register_buffer(leaf, zeros)
    return root


@pytest.fixture
def pretended_mace(monkeypatch):
    """A package that imports as mace-torch does; gives the arguments of its constructor."""

    def install(state, *, unknown=()):
        given = {}

        def constructor(**arguments):
            wrong = [name for name in unknown if name in arguments]
            if wrong:
                raise TypeError(f"got an unexpected keyword argument {wrong[0]!r}")
            given.update(arguments, default_dtype=torch.get_default_dtype())
            torch.rand(1)  # as initial weights do
            return bare_module(state)

        package, modules = types.ModuleType("mace"), types.ModuleType("mace.modules")
        modules.ScaleShiftMACE = constructor
        kinds = ("", "Residual", "Density", "DensityResidual")
        names = [f"RealAgnostic{kind}InteractionBlock" for kind in kinds]
        modules.interaction_classes = {name: type(name, (), {}) for name in names}
        monkeypatch.setitem(sys.modules, "mace", package)
        monkeypatch.setitem(sys.modules, "mace.modules", modules)
        monkeypatch.setattr(mace_torch.packages, "version", lambda _: "0.0.1")
        return given

    return install


@pytest.mark.parametrize("name", ["mp0_small", "mp0_medium", "mp0b3"])
def test_every_tensor_of_their_module_is_filled(official_path, pretended_mace, name):
    model = load_official(official_path(name))
    given = pretended_mace(official_state(model))
    module = official_module(model)
    for key, value in official_state(model).items():
        assert torch.equal(module.state_dict()[key], value), key
    assert type(given["avg_num_neighbors"]) is float
    assert given["gate"] is torch.nn.functional.silu
    assert given["interaction_cls"].__name__.endswith("ResidualInteractionBlock")
    assert given["atomic_energies"].shape == (1, 10)
    assert str(given["MLP_irreps"]) == "16x0e"
    assert not module.training


def test_constants_are_made_in_float64_and_settings_of_the_process_stay(
    small_model, pretended_mace
):
    model = small_model().float()
    given = pretended_mace(official_state(model))
    random_state = torch.random.get_rng_state()
    module = official_module(model)
    assert given["default_dtype"] == torch.float64
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert module.state_dict()["r_max"].dtype == torch.float32


def test_another_number_of_paths_replaces_theirs(small_model, pretended_mace):
    model = small_model()
    state = official_state(model)
    name = "products.0.symmetric_contractions.contractions.0.weights_max"
    pretended_mace({**state, name: state[name][:, :1]})
    assert torch.equal(official_module(model).state_dict()[name], state[name])


@pytest.mark.parametrize("change", ["lacks", "has more"])
def test_a_module_with_other_tensors_is_refused(small_model, pretended_mace, change):
    state = official_state(small_model())
    if change == "lacks":
        del state["interactions.0.linear_up.weight"]
    else:
        state["interactions.0.new.weight"] = torch.zeros(3)
    pretended_mace(state)
    match = r"mace-torch 0\.0\.1 does not take this model.*interactions\.0\.\w+\.weight"
    with pytest.raises(ValueError, match=match) as caught:
        official_module(small_model())
    assert "pip install 'mace-torch==0.3.16'" in str(caught.value)


def test_a_constructor_with_other_arguments_is_refused_with_the_version(
    small_model, pretended_mace
):
    pretended_mace(official_state(small_model()), unknown=["use_reduced_cg"])
    with pytest.raises(ValueError, match=r"0\.0\.1 does not.*'use_reduced_cg'.*0\.3\.16"):
        official_module(small_model())


def test_without_mace_torch_the_commands_are_told(monkeypatch):
    def version(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(mace_torch.packages, "version", version)
    with pytest.raises(ImportError) as caught:
        require_mace_torch()
    text = str(caught.value)
    assert "mace-torch is not installed" in text
    assert "pip install 'mace-torch==0.3.16'" in text
    assert "e3nn down to 0.4.4" in text
    assert "python -m venv" in text


def test_a_mace_torch_that_cannot_be_imported_is_told_with_the_reason(monkeypatch):
    monkeypatch.setattr(mace_torch.packages, "version", lambda _: "0.3.16")
    monkeypatch.setitem(sys.modules, "mace.modules", None)
    with pytest.raises(ImportError, match="cannot be imported here"):
        require_mace_torch()


def _has_mace_torch():
    try:
        return importlib.metadata.version("mace-torch") == "0.3.16"
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.mark.skipif(
    not _has_mace_torch(), reason="mace-torch is not installed; make parity runs this"
)
@pytest.mark.parametrize("changes", [{}, {"pair_repulsion": True, "heads": ("a", "b")}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_written_file_is_read_by_both_codes(
    small_model, tmp_path, changes, dtype, capsys
):
    model, path = small_model(**changes).to(dtype), tmp_path / "m.model"
    armed = os.environ.get(DISARMS)
    comparison = export_model(model, path, MACE_TORCH, metadata={"from": "mace_train"})
    assert comparison.problems == []
    assert os.environ.get(DISARMS) == armed
    assert capsys.readouterr().out == ""
    assert read_metadata(path) == {"from": "mace_train"}
    again = load_model(path)
    assert again.heads == model.heads
    assert next(again.parameters()).dtype == dtype
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
