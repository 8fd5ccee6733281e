import pytest
import torch

from mace_train.checkpoints.mace_torch import read_official
from mace_train.checkpoints.official_arguments import arguments_of
from mace_train.checkpoints.official_modules import may_stand, read_modules
from mace_train.checkpoints.torch_archive import TorchArchive


@pytest.fixture
def contents(official_file):
    """Archive, modules and tensors of an official file, free to be changed."""
    path = official_file("mp0b3")
    arguments, tensors = read_official(path)
    with TorchArchive(path) as archive:
        modules = read_modules(archive.load(is_allowed=may_stand))
        tensors |= {
            "r_max": torch.tensor(6.0),
            "atomic_numbers": torch.tensor(arguments["atomic_numbers"]),
            "radial_embedding.bessel_fn.r_max": torch.tensor(6.0),
            "radial_embedding.cutoff_fn.r_max": torch.tensor(6.0),
            "radial_embedding.cutoff_fn.p": torch.tensor(5),
            "pair_repulsion_fn.p": torch.tensor(5),
        }
        yield archive, modules, tensors


def test_a_file_without_heads_has_the_default_head(contents):
    del contents[1][""].attributes["heads"]
    assert arguments_of(*contents)["heads"] == ["Default"]


def test_hidden_scalars_of_the_readout_are_counted_per_head(contents):
    contents[1][""].attributes["heads"] = ["a", "b"]
    assert arguments_of(*contents)["readout_hidden_irreps"] == "8x0e"


def test_a_cutoff_p_of_older_files_is_a_float(contents):
    contents[2]["radial_embedding.cutoff_fn.p"] = torch.tensor(5.0)
    del contents[2]["pair_repulsion_fn.p"]
    assert arguments_of(*contents)["cutoff_p"] == 5


def _differing_neighbors(modules, _):
    modules["interactions.1"].attributes["avg_num_neighbors"] = 3.0


def _differing_cutoffs(_, tensors):
    tensors["radial_embedding.cutoff_fn.r_max"] = torch.tensor(5.0)


def _differing_p(_, tensors):
    tensors["pair_repulsion_fn.p"] = torch.tensor(6)


def _broken_p(_, tensors):
    tensors["radial_embedding.cutoff_fn.p"] = torch.tensor(5.5)
    tensors["pair_repulsion_fn.p"] = torch.tensor(5.5)


def _differing_mlp(_, tensors):
    tensors["interactions.1.conv_tp_weights.layer0.weight"] = torch.zeros(10, 32)


def _differing_correlation(_, tensors):
    del tensors["products.1.symmetric_contractions.contractions.0.U_matrix_3"]


def _vectors_at_the_end(modules, _):
    path = "symmetric_contractions.contractions.1"
    modules[f"products.1.{path}"] = modules[f"products.0.{path}"]


def _gap_in_harmonics(modules, _):
    modules["spherical_harmonics"].attributes["_ls_list"] = [0, 2]


def _soft_transform(modules, _):
    path = "radial_embedding.distance_transform"
    kind = modules["interactions.0"].kind
    modules[path] = type(modules[path])(path, kind, {})


def _no_heads(modules, _):
    modules[""].attributes["heads"] = []


def _vector_of_cutoffs(_, tensors):
    tensors["r_max"] = torch.ones(2)


def _flat_mlp(_, tensors):
    tensors["interactions.1.conv_tp_weights.layer0.weight"] = torch.zeros(10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_no_heads, r"heads are \[\], not a list of names"),
        (_vector_of_cutoffs, "'r_max' is not a single number"),
        (_flat_mlp, "no matrices"),
        (_differing_neighbors, "avg_num_neighbors"),
        (_differing_cutoffs, r"cutoffs \[5.0, 6.0\] Å differ"),
        (_differing_p, "p that differs"),
        (_broken_p, "p that differs or is no integer"),
        (_differing_mlp, "radial MLPs .* differ"),
        (_differing_correlation, r"correlation \[2, 3\]"),
        (_vectors_at_the_end, "last layer has features beyond scalars"),
        (_gap_in_harmonics, r"l = \[0, 2\]"),
        (_soft_transform, "distance transform .* is not supported"),
    ],
)
def test_what_differs_between_layers_is_refused_by_name(contents, change, message):
    change(*contents[1:])
    with pytest.raises(ValueError, match=message):
        arguments_of(*contents)
