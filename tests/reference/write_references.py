"""Write models of every supported architecture with mace-torch, and what it computes.

    python write_references.py STRUCTURES.extxyz FOLDER

Runs where mace-torch 0.3.16 is installed, which is not a dependency of this project. For
each name there is NAME.model, as mace-torch saves it, and NAME.npz with the energy (eV),
forces (eV/Å), stress (eV/Å^3) and node_energy (eV) of each structure, in float64.
"""

import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import mace  # noqa: E402, F401 - prepares torch for e3nn 0.4.4, so it stands before it
import numpy as np  # noqa: E402
import torch  # noqa: E402
from ase.io import read  # noqa: E402
from e3nn import o3  # noqa: E402
from mace import data, modules  # noqa: E402
from mace.tools import AtomicNumberTable, torch_geometric  # noqa: E402

ELEMENTS = [1, 3, 6, 8, 11, 13, 14, 17, 26, 29]
PLAIN, RESIDUAL, DENSITY, DENSITY_RESIDUAL = (
    modules.interaction_classes[f"RealAgnostic{kind}InteractionBlock"]
    for kind in ("", "Residual", "Density", "DensityResidual")
)
COMMON = {
    "hidden_irreps": "8x0e + 8x1o",
    "num_bessel": 8,
    "num_polynomial_cutoff": 5,
    "max_ell": 3,
    "num_interactions": 2,
    "correlation": 3,
    "r_max": 5.0,
    "gate": torch.nn.functional.silu,
    "avg_num_neighbors": 9.7,
    "atomic_inter_scale": 0.804,
    "atomic_inter_shift": 0.164,
    "MLP_irreps": "16x0e",
    "radial_MLP": [64, 64, 64],
    "radial_type": "bessel",
    "interaction_cls_first": RESIDUAL,
    "interaction_cls": RESIDUAL,
}
DENSE = {"interaction_cls_first": DENSITY, "interaction_cls": DENSITY_RESIDUAL}
HEADS = {
    "heads": ["pt_head", "Default"],
    "atomic_inter_scale": [0.8, 0.7],
    "atomic_inter_shift": [0.1, 0.2],
}
SPECIFICATIONS = {
    "scalars": {"hidden_irreps": "16x0e", "r_max": 6.0},
    "vectors": {"hidden_irreps": "16x0e + 16x1o", "r_max": 6.0},
    "tensors": {"hidden_irreps": "8x0e + 8x1o + 8x2e"},
    "plain_first": {"interaction_cls_first": PLAIN},
    "dense": DENSE,
    "agnesi_and_repulsion": {
        **DENSE,
        "distance_transform": "Agnesi",
        "pair_repulsion": True,
    },
    "full_basis": {**DENSE, "use_reduced_cg": False},
    "one_layer": {"num_interactions": 1},
    "one_dense_layer_two_heads": {**DENSE, **HEADS, "num_interactions": 1},
    "three_layers": {"num_interactions": 3, "correlation": 2},
    "two_heads": {**DENSE, **HEADS},
    "two_heads_plain_first": {
        **HEADS,
        "interaction_cls_first": PLAIN,
        "MLP_irreps": "6x0e",
    },
    "pairs_only": {"correlation": 1},
    "short_radial_mlp": {"radial_MLP": [16, 8], "max_ell": 2},
    "other_cutoff": {"num_polynomial_cutoff": 6, "pair_repulsion": True},
    "fine_tuned": {},
    "numpy_statistics": {},
    "tensor_statistics": {},
    "of_2023": {"pair_repulsion": True},
}


def change(name: str, model: torch.nn.Module) -> None:
    """Bring a model into the form of other versions, with the same values."""
    if name == "fine_tuned":  # a parameter here, a buffer elsewhere
        basis = model.radial_embedding.bessel_fn
        weights = basis.bessel_weights * 1.01
        del basis.bessel_weights
        basis.bessel_weights = torch.nn.Parameter(weights)
    kinds = {"numpy_statistics": np.float64, "tensor_statistics": torch.tensor}
    if name in kinds:
        for interaction in model.interactions:
            interaction.avg_num_neighbors = kinds[name](interaction.avg_num_neighbors)
    if name == "of_2023":  # before heads, with leftovers of the first repulsion
        for attribute in (
            "heads",
            "apply_cutoff",
            "use_reduced_cg",
            "use_so3",
            "edge_irreps",
        ):
            model.__dict__.pop(attribute)
        model.radial_embedding.cutoff_fn.p = torch.tensor(5.0)
        model.pair_repulsion_fn.register_buffer("r_max", torch.tensor(5.0))
        model.pair_repulsion_fn.cutoff = modules.radial.PolynomialCutoff(5.0, 5)
        for product in model.products:
            for contraction in product.symmetric_contractions.contractions:
                for buffer in [n for n in contraction._buffers if n.endswith("_zeroed")]:
                    del contraction._buffers[buffer]


def build(specification: dict) -> torch.nn.Module:
    """A model with random weights."""
    torch.manual_seed(1)
    arguments = {**COMMON, **specification}
    for key in ("hidden_irreps", "MLP_irreps"):
        arguments[key] = o3.Irreps(arguments[key])
    heads = arguments.get("heads", ["Default"])
    energies = np.random.default_rng(1).normal(-4, 2, (len(heads), len(ELEMENTS)))
    model = modules.ScaleShiftMACE(
        num_elements=len(ELEMENTS),
        atomic_energies=energies if len(heads) > 1 else energies[0],
        atomic_numbers=ELEMENTS,
        **arguments,
    ).double()
    with torch.no_grad():
        for parameter in (*model.products.parameters(), *model.readouts.parameters()):
            parameter.mul_(3.0)
    return model


def evaluate(model: torch.nn.Module, structures: list) -> dict[str, np.ndarray]:
    """What mace-torch computes for each structure."""
    values = {}
    keys = data.KeySpecification.from_defaults()
    for place, atoms in enumerate(structures):
        atoms = atoms.copy()
        if not any(atoms.pbc):
            atoms.set_cell(np.zeros((3, 3)))
        configuration = data.config_from_atoms(
            atoms, key_specification=keys, head_name="Default"
        )
        sample = data.AtomicData.from_config(
            configuration,
            z_table=AtomicNumberTable(ELEMENTS),
            cutoff=float(model.r_max),
            heads=model.heads,
        )
        batch = next(iter(torch_geometric.dataloader.DataLoader([sample], batch_size=1)))
        output = model(batch.to_dict(), compute_stress=True, training=False)
        for name in ("energy", "forces", "stress", "node_energy"):
            values[f"{place}_{name}"] = output[name].detach().numpy()
    return values


def main(structures: Path, folder: Path) -> None:
    """Write all models and their values."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    frames = read(structures, ":")
    folder.mkdir(parents=True, exist_ok=True)
    for name, specification in SPECIFICATIONS.items():
        model = build(specification)
        if name == "fine_tuned":
            change(name, model)
        values = evaluate(model, frames)
        largest = max(np.abs(v).max() for n, v in values.items() if n.endswith("forces"))
        model.scale_shift.scale /= max(1.0, largest)  # for forces of at most 1 eV/Å
        np.savez_compressed(folder / f"{name}.npz", **evaluate(model, frames))
        if name != "fine_tuned":  # these keep the values
            change(name, model)
        torch.save(model, folder / f"{name}.model")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
