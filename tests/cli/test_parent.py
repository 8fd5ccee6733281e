import pytest
import torch
from small_crystals import small_model

from mace_train.checkpoints.model_file import save_model
from mace_train.cli.parent import load_parent, parent_statistics
from mace_train.cli.problems import ConfigError


def saved(tmp_path, **options):
    path = tmp_path / "parent.safetensors"
    model = small_model(**options)
    save_model(path, model, metadata={})
    return str(path), model


def config(path, model=None, dtype="float64"):
    model = {"backend": "plain"} | (model or {})
    return {"init_from": path, "dtype": dtype, "model": model, "data": {"r_max": 9.0}}


def test_weights_and_architecture_are_those_of_the_file(tmp_path):
    path, model = saved(tmp_path)
    asked = config(path)
    parent = load_parent(asked)
    assert parent.training
    assert all(parameter.requires_grad for parameter in parent.parameters())
    for name, weights in model.state_dict().items():
        torch.testing.assert_close(parent.state_dict()[name], weights, rtol=0, atol=0)
    assert asked["model"]["hidden_irreps"] == "4x0e + 4x1o"
    assert asked["model"]["_target_"] == "mace_train.model.mace.MACE"
    assert not {"atomic_numbers", "heads", "scale"} & set(asked["model"])
    assert asked["data"]["r_max"] == model.r_max
    assert parent.backend == asked["model"]["backend"] == "plain"


def test_the_dtype_is_that_of_the_config(tmp_path):
    path, _ = saved(tmp_path)
    parent = load_parent(config(path, dtype="float32"))
    assert {parameter.dtype for parameter in parent.parameters()} == {torch.float32}


def test_an_architecture_that_was_asked_for_must_be_that_of_the_file(tmp_path):
    path, _ = saved(tmp_path)
    same = config(path)
    load_parent(same)
    asked = same["model"] | {"hidden_irreps": "4x0e+4x1o", "radial_mlp": [8]}
    load_parent(config(path, model=asked))
    with pytest.raises(ConfigError) as caught:
        load_parent(config(path, model=asked | {"max_ell": 3, "r_max": 5.0}))
    assert [problem.key for problem in caught.value.problems] == [
        "model.max_ell",
        "model.r_max",
    ]
    assert f"3 differs from that of init_from={path}, 2" in str(caught.value)


def test_a_model_with_several_heads_is_refused(tmp_path):
    path, _ = saved(tmp_path, heads=("pbe", "scan"))
    with pytest.raises(ValueError, match="heads pbe, scan"):
        load_parent(config(path))


def test_statistics_are_those_of_the_parent(tmp_path):
    path, model = saved(tmp_path)
    statistics = parent_statistics(model, path)
    assert statistics.avg_num_neighbors == 12.0
    assert (statistics.scale, statistics.shift) == (0.5, 0.1)
    assert statistics.atomic_energies.tolist() == pytest.approx([-1.3, -1.8])
    assert statistics.atomic_numbers == (3, 8)
    assert "0.1" in statistics.table() or statistics.table()
