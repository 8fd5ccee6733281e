import itertools
import math
import re
import zipfile

import pytest
import torch
from ase.build import bulk

from mace_train.checkpoints.inert_pickle import UnsafeFileError
from mace_train.checkpoints.mace_torch import (
    load_official,
    read_official,
    read_official_metadata,
)
from mace_train.checkpoints.model_file import (
    ModelFileError,
    load_model,
    read_metadata,
    save_model,
)
from mace_train.checkpoints.torch_archive import TorchArchive
from mace_train.graph import AtomicGraph
from mace_train.model.rebuild import rebuild_model


def text(value: str) -> bytes:
    """A string as pickle protocol 2 writes it."""
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def test_the_architecture_of_an_official_file_is_read(official_file):
    arguments, _ = read_official(official_file("mp0b3"))
    energies = arguments.pop("atomic_energies")
    assert len(energies) == 1
    assert len(energies[0]) == 10
    assert arguments == {
        "hidden_irreps": "16x0e + 16x1o",
        "max_ell": 3,
        "correlation": 3,
        "num_interactions": 2,
        "r_max": 6.0,
        "num_radial_basis": 10,
        "cutoff_p": 5,
        "radial_mlp": [64, 64, 64],
        "readout_hidden_irreps": "16x0e",
        "first_interaction": "density",
        "interaction": "density_residual",
        "distance_transform": "agnesi",
        "pair_repulsion": True,
        "atomic_numbers": [1, 3, 6, 8, 11, 13, 14, 17, 26, 29],
        "avg_num_neighbors": 9.7,  # stands in no state dict
        "scale": [0.804],
        "shift": [0.164],
        "heads": ["Default"],
    }


def test_energies_scale_and_shift_get_the_axis_of_heads(official_file):
    _, state = read_official(official_file("mp0_small"))
    assert state["atomic_energies_fn.atomic_energies"].shape == (1, 10)
    assert state["scale_shift.scale"].shape == (1,)
    assert state["scale_shift.shift"].shape == (1,)


def test_tensors_that_follow_from_others_are_left_out(official_file):
    _, state = read_official(official_file("mp0_medium"))
    names = " ".join(state)
    for derived in ("output_mask", "bias", "_w3j_", "_zeroed", "conv_tp.weight "):
        assert derived not in names


def test_a_basis_that_is_ours_is_not_kept_twice(official_file):
    model = load_official(official_file("mp0_medium"))
    assert model.hyperparameters["product_basis"] == "own"
    assert not [name for name in model.state_dict() if "U_matrix" in name]


def _energies(model, graph):
    return model(graph, compute_forces=False).node_energies


def _with_another_basis(arguments, state, change):
    """The same function of the structure, in another basis of the products."""
    state = dict(state)
    for name in [name for name in state if ".U_matrix_" in name]:
        prefix, order = name.rsplit(".U_matrix_", 1)
        weight = (
            f"{prefix}.weights_max"
            if int(order) == arguments["correlation"]
            else f"{prefix}.weights.{arguments['correlation'] - 1 - int(order)}"
        )
        state[name], state[weight] = change(state[name], state[weight])
    return state


def _reversed(basis, weight):
    return basis.flip(-1), weight.flip(1)


def _reduced(basis, weight):
    """As newer files have it: paths that depend on others are expressed by them."""
    axes = [axis for axis in range(basis.ndim - 1) if basis.shape[axis] == 16]
    flat = _symmetrized(basis, axes).reshape(-1, basis.shape[-1])
    kept: list[int] = []
    for column in range(flat.shape[1]):
        if torch.linalg.matrix_rank(flat[:, [*kept, column]]) > len(kept):
            kept.append(column)
    mixing = torch.linalg.lstsq(flat[:, kept], flat).solution
    return basis[..., kept], torch.einsum("rk,zkc->zrc", mixing, weight)


def _symmetrized(basis, axes):
    total = torch.zeros_like(basis)
    for permutation in itertools.permutations(axes):
        order = list(range(basis.ndim))
        for axis, target in zip(axes, permutation):
            order[axis] = target
        total = total + basis.permute(order)
    return total / math.factorial(len(axes))


@pytest.mark.parametrize("change", [_reversed, _reduced])
@pytest.mark.parametrize("name", ["mp0_small", "mp0_medium"])
def test_a_file_with_another_product_basis_keeps_its_own(
    official_file, name, change, tmp_path
):
    arguments, state = read_official(official_file(name))
    model = load_official(official_file(name))
    other_state = _with_another_basis(arguments, state, change)
    other = rebuild_model({**arguments, "product_basis": "file"}, other_state)
    graph = AtomicGraph.from_atoms(
        bulk("NaCl", "rocksalt", 5.64), elements=model.elements, r_max=model.r_max
    )
    expected = _energies(model, graph)
    torch.testing.assert_close(_energies(other, graph), expected, rtol=0, atol=1e-10)
    save_model(tmp_path / "m.safetensors", other, metadata={})
    again = load_model(tmp_path / "m.safetensors")
    assert torch.equal(_energies(again, graph), _energies(other, graph))


def test_a_basis_of_another_shape_is_refused(official_file, monkeypatch):
    original = TorchArchive.tensor

    def cut(self, record):
        tensor = original(self, record)
        return tensor[:9] if tensor.shape == (16, 16, 16, 23) else tensor

    monkeypatch.setattr(TorchArchive, "tensor", cut)
    with pytest.raises(ValueError, match=r"U_matrix_3 has the shape \(9, 16, 16, 23\)"):
        load_official(official_file("mp0_small"))


def test_a_basis_of_no_hidden_irrep_is_refused(official_file, monkeypatch):
    def renamed(path):
        arguments, state = read_official(path)
        name = "products.0.symmetric_contractions.contractions.{}.U_matrix_3"
        return arguments, {name.format(7): state[name.format(0)], **state}

    monkeypatch.setattr("mace_train.checkpoints.mace_torch.read_official", renamed)
    with pytest.raises(
        ValueError, match=r"7\.U_matrix_3 is of no part of its hidden_irreps"
    ):
        load_official(official_file("mp0_small"))


def test_a_file_whose_basis_differs_is_recognized(official_file, monkeypatch):
    path = official_file("mp0_small")
    original = TorchArchive.tensor

    def flipped(self, record):
        tensor = original(self, record)
        return tensor.flip(-1).contiguous() if tensor.shape == (16, 16, 16, 23) else tensor

    monkeypatch.setattr(TorchArchive, "tensor", flipped)
    assert load_official(path).hyperparameters["product_basis"] == "file"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            b"models\nScaleShiftMACE",
            b"models\nMACE",
            r"models\.MACE, which is not supported",
        ),
        (
            b"models\nScaleShiftMACE",
            b"extensions\nPolarMACE",
            "PolarMACE, which is not supported",
        ),
        (
            b"blocks\nRealAgnosticResidualInteractionBlock",
            b"blocks\nRealAgnosticAttResidualInteractionBlock",
            r"its part interactions\.. is a .*AttResidual.*not supported",
        ),
        (
            b"radial\nBesselBasis",
            b"radial\nGaussianBasis",
            "bessel_fn is a .*GaussianBasis",
        ),
        (
            b"blocks\nNonLinearReadoutBlock",
            b"blocks\nNonLinearBiasReadoutBlock",
            "NonLinearBiasReadoutBlock",
        ),
        (
            b"functional\nsilu",
            b"functional\ntanh",
            r"activation torch\.nn\.functional\.tanh .*only silu",
        ),
        (text("interactions"), text("interaction5"), "no part 'interactions'"),
        (text("r_max"), text("r_mux"), "no tensor 'r_max'"),
        (text("avg_num_neighbors"), text("avg_num_neighbor5"), "avg_num_neighbors"),
        (text("_ls_list"), text("_ls_lisp"), "_ls_list"),
        (b"G@#ffffff", b"X\x03\x00\x00\x00abcN0", "number should stand"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_supported_is_refused_by_a_message_that_names_it(
    edited_file, old, new, message
):
    with pytest.raises(ValueError, match=message) as caught:
        load_official(edited_file(old, new))
    assert not isinstance(caught.value, UnsafeFileError)


@pytest.mark.parametrize(
    ("new", "name"),
    [
        (b"cposix\nsystem", r"posix\.system"),
        (b"c__builtin__\neval", r"__builtin__\.eval"),
        (b"cbuiltins\ngetattr", r"builtins\.getattr"),
        (b"ctorch.serialization\nload", r"torch\.serialization\.load"),
        (b"ctorch._utils\n_rebuild_from_type", r"torch\._utils\._rebuild_from_type"),
        (b"ccuequivariance.group_theory\nIrreps", r"cuequivariance\.group_theory\.Irreps"),
    ],
)
def test_any_other_global_is_refused_by_its_name(edited_file, new, name):
    old = b"cmace.modules.blocks\nScaleShiftBlock"
    with pytest.raises(UnsafeFileError, match=name):
        load_official(edited_file(old, new))


def test_code_inside_the_file_is_not_executed(official_file, tmp_path):
    """Generated source (fx) and TorchScript stand in real files; ours reads past them."""
    path = official_file("mp0_small")
    content = zipfile.ZipFile(path).read("mp0_small/data.pkl")
    assert b"reduce_graph_module" in content
    owned = tmp_path / "owned"
    evil = tmp_path / "evil.model"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(evil, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("data.pkl"):
                start = content.index(b"def forward(self")
                line = f"open({str(owned)!r}, 'w')\n#".encode()
                data = content[:start] + line + content[start + len(line) :]
            target.writestr(name, data)
    model = load_official(evil)
    assert model.num_parameters == load_official(path).num_parameters
    assert not owned.exists()


def test_a_file_is_read_in_the_dtype_that_is_asked_for(official_file):
    path = official_file("mp0_small")
    assert next(load_official(path).parameters()).dtype == torch.float64
    single = load_official(path, dtype=torch.float32)
    assert next(single.parameters()).dtype == torch.float32


def with_metadata(official_file, edited_file, value: bytes):
    """A copy of the small file with our attribute in place of one that may be absent."""
    source = zipfile.ZipFile(official_file("mp0_small"))
    name = next(name for name in source.namelist() if name.endswith("/data.pkl"))
    attribute = re.escape(text("use_last_readout_only"))
    found = re.search(attribute + rb"(q.|r....)\x89", source.read(name), re.DOTALL)
    return edited_file(found[0], text("mace_train_metadata") + found[1] + value)


def test_metadata_that_an_export_wrote_are_read_and_the_model_too(
    official_file, edited_file
):
    metadata = '{"config": {"_target_": "mace_train.model.mace.MACE"}, "heads": ["a"]}'
    path = with_metadata(official_file, edited_file, text(metadata))
    assert read_official_metadata(path)["heads"] == ["a"]
    assert read_metadata(path)["config"]["_target_"] == "mace_train.model.mace.MACE"
    assert load_model(path).num_parameters


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (text("{"), "not JSON"),
        (text("[" * 100_000), "not JSON"),
        (b"K\x07", "not JSON"),  # the number 7
        (text("[1]"), "not a JSON object"),
    ],
)
def test_broken_metadata_are_an_error_and_the_model_can_be_read(
    official_file, edited_file, value, said
):
    path = with_metadata(official_file, edited_file, value)
    with pytest.raises(ModelFileError, match=f"edited.model: its metadata are {said}"):
        read_metadata(path)
    assert load_model(path).num_parameters
