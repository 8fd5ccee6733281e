"""All backends give the same numbers, for every kind of model."""

import lzma
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.io import read
from official_variants import load, structure, variants
from optional_backends import NEEDS_CUEQUIVARIANCE, OTHERS
from safetensors import safe_open
from twice_differentiable import assert_same

from mace_train.checkpoints.model_file import load_model, save_model
from mace_train.graph import AtomicGraph
from mace_train.model import backends
from mace_train.model.backends import chosen_backend

EXACT = 1e-12  # relative, norm-wise, in float64
# Error in float32 of the fast backend in units of that of the plain one.
AS_GOOD = 2.0
REFERENCE = Path(__file__).parents[1] / "reference"
TENSORS = "3x0e + 3x1o + 3x2e"
MADE = {
    "nothing but distances": {"hidden_irreps": "4x0e", "max_ell": 0, "correlation": 2},
    "vectors of max_ell 1": {"max_ell": 1},
    "three layers of scalars": {"hidden_irreps": "4x0e", "num_interactions": 3},
    "three layers of tensors": {
        "hidden_irreps": TENSORS,
        "num_interactions": 3,
        "first_interaction": "density_residual",
        "interaction": "density",
        "correlation": 1,
    },
    "one layer to max_ell 3": {
        "num_interactions": 1,
        "max_ell": 3,
        "first_interaction": "plain",
    },
    "density residual": {
        "hidden_irreps": TENSORS,
        "first_interaction": "density_residual",
        "interaction": "plain",
        "correlation": 2,
        "distance_transform": "agnesi",
    },
    "pairs to max_ell 4": {"max_ell": 4, "correlation": 1, "radial_mlp": [7]},
}


@pytest.fixture
def install(monkeypatch):
    """Make cuequivariance, and its CUDA kernels, installed or not."""

    def install(package, *, kernels):
        monkeypatch.setattr(backends, "_HAS_CUEQUIVARIANCE", package)
        monkeypatch.setattr(backends, "_HAS_KERNELS", kernels)

    return install


@pytest.mark.parametrize(
    ("device", "package", "kernels", "expected"),
    [
        ("cpu", True, True, "chunked"),
        ("cuda", True, True, "cuequivariance"),
        ("cuda", True, False, "plain"),
        ("cuda", False, True, "plain"),
        ("meta", True, True, "plain"),
    ],
)
def test_auto_is_the_fast_one_of_the_device(device, package, kernels, expected, install):
    install(package, kernels=kernels)
    assert chosen_backend("auto", torch.device(device)) == expected


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_without_cuequivariance_it_is_refused_with_what_to_install(device, install):
    install(False, kernels=False)
    with pytest.raises(ValueError, match=r"pip install 'mace-train\[cuequivariance\]'"):
        chosen_backend("cuequivariance", torch.device(device))


def test_cuequivariance_needs_its_kernels_on_a_gpu_alone(install):
    install(True, kernels=False)
    assert chosen_backend("cuequivariance", torch.device("cpu")) == "cuequivariance"
    with pytest.raises(ValueError, match="pip install cuequivariance-ops-torch-cu12"):
        chosen_backend("cuequivariance", torch.device("cuda"))


def test_what_a_user_asks_for_is_taken_where_it_works():
    assert chosen_backend("plain", torch.device("cpu")) == "plain"
    assert chosen_backend("plain", torch.device("cuda")) == "plain"
    assert chosen_backend("chunked", torch.device("cpu")) == "chunked"
    with pytest.raises(ValueError, match="chunked works on a CPU and the model is on cuda"):
        chosen_backend("chunked", torch.device("cuda"))


def graph_of(model, atoms, **options) -> AtomicGraph:
    given = {"elements": model.elements, "r_max": model.r_max, **options}
    return AtomicGraph.from_atoms(atoms, **given)


def some_graph(model, **options) -> AtomicGraph:
    """A crystal, a molecule and a lone atom, of all heads in turn."""
    frames = [structure(1), structure(0), structure(2)]
    return AtomicGraph.batch(
        [
            graph_of(model, atoms, head=place % len(model.heads), **options)
            for place, atoms in enumerate(frames)
        ]
    )


def gradients(model, loss) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }


def everything(model, graph, *, backend, hessian_of) -> dict[str, torch.Tensor]:
    """Predictions, the Hessian of a graph, and gradients of a loss by all parameters."""
    model.backend = backend
    prediction = model(graph, compute_stress=True, create_graph=True)
    names = ("energy", "node_energies", "forces", "stress", "node_features")
    found = {name: getattr(prediction, name).detach() for name in names}
    found["hessian"] = model(hessian_of, compute_hessian=True).hessian
    loss = prediction.energy.square().sum() + prediction.forces.square().sum()
    loss = loss + 100 * prediction.stress.square().sum()
    return found | gradients(model, loss)


def check_agreement(model, graph, *, hessian_of, backend="chunked"):
    expected, found = (
        everything(model, graph, backend=name, hessian_of=hessian_of)
        for name in ("plain", backend)
    )
    assert expected["hessian"].any()
    for name, value in expected.items():
        assert_same(found[name], value, tolerance=EXACT, label=name)


@pytest.mark.parametrize("variant", variants())
def test_backends_agree_for_every_variant(variant):
    model = load(variant)
    few = graph_of(model, structure(1)[:3])
    check_agreement(model, some_graph(model), hessian_of=few)


@pytest.mark.parametrize("name", MADE)
def test_backends_agree_for_models_of_any_shape(name, small_mace):
    model = small_mace(**MADE[name])
    few = graph_of(model, structure(1)[:3])
    check_agreement(model, some_graph(model), hessian_of=few)


@NEEDS_CUEQUIVARIANCE
@pytest.mark.parametrize("name", MADE)
def test_cuequivariance_agrees_for_models_of_any_shape(name, small_mace):
    model = small_mace(**MADE[name])
    few = graph_of(model, structure(1)[:3])
    check_agreement(model, some_graph(model), hessian_of=few, backend="cuequivariance")


@NEEDS_CUEQUIVARIANCE
@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(name, marks=pytest.mark.slow)
        if name in ("tensors", "high_degree")  # thousands of terms, a torch operation each
        else name
        for name in variants()
    ],
)
def test_cuequivariance_agrees_for_every_variant(variant):
    model = load(variant)
    few = graph_of(model, structure(1)[:3])
    check_agreement(model, some_graph(model), hessian_of=few, backend="cuequivariance")


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("mp0_small", "chunked"),
        ("mp0_medium", "chunked"),
        ("mp0b3", "chunked"),
        pytest.param("mp0_small", "cuequivariance", marks=NEEDS_CUEQUIVARIANCE),
    ],
)
def test_backends_agree_for_official_files(name, backend, tmp_path):
    path = tmp_path / f"{name}.model"
    path.write_bytes(lzma.decompress((REFERENCE / f"{path.name}.xz").read_bytes()))
    model = load_model(path, dtype="float64")
    by_formula = {str(a.symbols): a for a in read(REFERENCE / "structures.extxyz", ":")}
    frames = [by_formula[formula] for formula in ("NaCl", "OH2", "C2ClO", "O")]
    for atoms in frames:
        atoms.rattle(0.1, seed=1)  # no force shall vanish by symmetry
    graph = AtomicGraph.batch([graph_of(model, atoms) for atoms in frames])
    few = graph_of(model, by_formula["OH2"])
    check_agreement(model, graph, hessian_of=few, backend=backend)


def test_the_order_of_atoms_and_edges_does_not_matter(small_mace):
    model = small_mace(first_interaction="density")
    atoms = structure(1)
    order = np.random.default_rng(4).permutation(len(atoms))
    graph = graph_of(model, atoms[order])
    edges = torch.randperm(graph.num_edges)
    shuffled = replace(
        graph, edge_index=graph.edge_index[:, edges], unit_shifts=graph.unit_shifts[edges]
    )
    model.backend = "chunked"
    found = model(shuffled, compute_stress=True)
    model.backend = "plain"
    expected = model(graph_of(model, atoms), compute_stress=True)
    assert_same(found.forces, expected.forces[order])
    assert_same(found.energy, expected.energy)
    assert_same(found.stress, expected.stress)


@pytest.mark.parametrize("saved_with", ["plain", *OTHERS])
def test_a_file_saved_with_one_backend_runs_with_another(saved_with, small_mace, tmp_path):
    model = small_mace(backend=saved_with)
    save_model(tmp_path / "m.safetensors", model, metadata={})
    graph = some_graph(model)
    expected = model(graph).forces
    for backend in ("plain", "chunked"):
        again = load_model(tmp_path / "m.safetensors", backend=backend)
        assert again.backend == backend
        assert_same(again(graph).forces, expected)
        again.backend = saved_with
        assert torch.equal(again(graph).forces, expected)


def test_a_backend_is_no_part_of_a_model_or_its_file(small_mace, tmp_path):
    plain, chunked = (small_mace(backend=backend) for backend in ("plain", "chunked"))
    assert plain.hyperparameters == chunked.hyperparameters
    assert plain.state_dict().keys() == chunked.state_dict().keys()
    contents = []
    for model in (plain, chunked):
        save_model(tmp_path / "m.safetensors", model, metadata={})
        with safe_open(tmp_path / "m.safetensors", "np") as file:
            arrays = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118 - no mapping
            contents.append((file.metadata(), arrays))
    assert contents[0] == contents[1]


@pytest.mark.parametrize("way", ["grad", "backward"])
@pytest.mark.parametrize("wanted", ["parameters", "positions"])
def test_a_hessian_is_differentiable_in_the_plain_backend_alone(wanted, way, small_mace):
    """The fast one has no third derivative, and does not take it for zero."""
    model = small_mace()
    graph = graph_of(model, structure(0))
    graph = replace(graph, positions=graph.positions.requires_grad_())
    inputs = [graph.positions] if wanted == "positions" else list(model.parameters())

    def differentiate(backend):
        model.backend = backend
        prediction = model(graph, compute_hessian=True, create_graph=True)
        loss = prediction.hessian.square().sum()
        if way == "backward":
            return loss.backward(inputs=inputs)
        return torch.autograd.grad(loss, inputs, allow_unused=True)

    differentiate("plain")
    with pytest.raises(RuntimeError, match=r"third|twice"):
        differentiate("chunked")


@pytest.mark.parametrize("changes", [{}, {"hidden_irreps": TENSORS, "max_ell": 3}])
def test_the_fast_backend_is_as_exact_in_single_precision(changes, small_mace):
    model = small_mace(**changes)
    rng = np.random.default_rng(0)
    frames = [structure(1) for _ in range(16)]
    for atoms in frames:
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)

    def predict(backend, dtype):
        model.to(dtype).backend = backend
        graph = AtomicGraph.batch([graph_of(model, a, dtype=dtype) for a in frames])
        return model(graph, compute_stress=True)

    # To float32 and back rounds the weights, after which all have the same.
    model.to(torch.float32).to(torch.float64)
    exact = predict("plain", torch.float64)
    plain, chunked = (predict(name, torch.float32) for name in ("plain", "chunked"))
    for name in ("interaction_energy", "forces", "stress"):
        target = getattr(exact, name)
        errors = [float((getattr(p, name) - target).norm()) for p in (plain, chunked)]
        assert 0 < errors[1] < AS_GOOD * errors[0], name
