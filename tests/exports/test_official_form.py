import pytest
import torch

from mace_train.checkpoints.mace_torch import follows_from_others, load_official
from mace_train.checkpoints.official_modules import may_stand, read_modules
from mace_train.checkpoints.torch_archive import TorchArchive
from mace_train.exports.official_form import official_arguments, official_state

SAME_BASIS = 1e-14  # the coefficients U are computed by both codes


def tensors_of(path):
    """All tensors of an official file that do not follow from others, as they stand."""
    with TorchArchive(path) as archive:
        modules = read_modules(archive.load(is_allowed=may_stand))
        records = {
            name: record
            for module in modules.values()
            for name, record in (
                module.named("_parameters") | module.named("_buffers")
            ).items()
        }
        tensors = {name: archive.tensor(record) for name, record in records.items()}
    return {
        name: value
        for name, value in tensors.items()
        if not follows_from_others(name) and value.numel()
    }


@pytest.mark.parametrize("name", ["mp0_small", "mp0_medium", "mp0b3"])
def test_the_state_is_that_of_the_official_file(official_path, name):
    path = official_path(name)
    theirs, ours = tensors_of(path), official_state(load_official(path))
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key].dtype == value.dtype, key
        assert ours[key].numel() == value.numel(), key
        flat, expected = ours[key].flatten(), value.flatten()  # files lack a head's axis
        if "U_matrix" in key:
            assert ours[key].shape == value.shape, key
            assert torch.allclose(flat, expected, rtol=0, atol=SAME_BASIS), key
        else:
            assert torch.equal(flat, expected), key


def test_the_state_holds_copies(small_model):
    model = small_model()
    official_state(model)["node_embedding.linear.weight"].zero_()
    assert model.node_embedding.linear.weight.abs().max() > 0


def test_the_arguments_are_those_of_the_published_model(official_path):
    arguments = official_arguments(load_official(official_path("mp0b3")))
    energies = arguments.pop("atomic_energies")
    assert [len(row) for row in energies] == [10]  # (heads, elements)
    assert arguments == {
        "r_max": 6.0,
        "num_bessel": 10,
        "num_polynomial_cutoff": 5,
        "max_ell": 3,
        "interaction_cls": "RealAgnosticDensityResidualInteractionBlock",
        "interaction_cls_first": "RealAgnosticDensityInteractionBlock",
        "num_interactions": 2,
        "num_elements": 10,
        "hidden_irreps": "16x0e + 16x1o",
        "MLP_irreps": "16x0e",
        "avg_num_neighbors": 9.7,  # in no state dict
        "atomic_numbers": [1, 3, 6, 8, 11, 13, 14, 17, 26, 29],
        "correlation": 3,
        "pair_repulsion": True,
        "distance_transform": "Agnesi",
        "radial_MLP": [64, 64, 64],
        "radial_type": "bessel",
        "heads": ["Default"],
        "atomic_inter_scale": [0.804],
        "atomic_inter_shift": [0.164],
        "use_reduced_cg": False,
    }


def test_several_heads_have_numbers_of_their_own(small_model):
    model = small_model(heads=("pbe", "scan"))
    arguments, state = official_arguments(model), official_state(model)
    assert arguments["heads"] == ["pbe", "scan"]
    assert len(arguments["atomic_inter_scale"]) == 2
    assert state["atomic_energies_fn.atomic_energies"].shape == (2, 3)
    assert state["scale_shift.scale"].shape == (2,)


def test_counts_and_orders_stay_integers_in_float32(small_model):
    state = official_state(small_model(pair_repulsion=True).float())
    assert state["r_max"].dtype == torch.float32
    assert state["atomic_numbers"].dtype == state["num_interactions"].dtype == torch.int64
    for name in ("radial_embedding.cutoff_fn.p", "pair_repulsion_fn.p"):
        assert state[name].dtype == torch.int32
        assert int(state[name]) == 5
