"""Write variants.npz: small models of every kind, with what mace-torch computes for them.

Run in an environment with mace-torch 0.3.16, in this folder: ``python make_variants.py``.
For each variant the file holds the arguments of our `MACE` (JSON), mace-torch's parameters
under their own names, and its energies, forces, stress and node energies of three
structures, all in float64, for random weights.
"""

import json
import warnings

import numpy as np
import torch
from mace import data, modules  # first: it lets e3nn 0.4.4 load its constants
from mace.tools import AtomicNumberTable, torch_geometric

# isort: split
from ase import Atoms
from e3nn import o3

warnings.filterwarnings("ignore")
ELEMENTS = [1, 8, 14]
KINDS = {
    "plain": "RealAgnosticInteractionBlock",
    "residual": "RealAgnosticResidualInteractionBlock",
    "density": "RealAgnosticDensityInteractionBlock",
    "density_residual": "RealAgnosticDensityResidualInteractionBlock",
}
BASE = {
    "hidden_irreps": "4x0e+4x1o",
    "max_ell": 2,
    "correlation": 3,
    "num_interactions": 2,
    "r_max": 4.0,
    "num_radial_basis": 5,
    "cutoff_p": 5,
    "radial_mlp": [8, 8],
    "readout_hidden_irreps": "4x0e",
    "first_interaction": "residual",
    "interaction": "residual",
    "distance_transform": "none",
    "pair_repulsion": False,
    "atomic_numbers": ELEMENTS,
    "atomic_energies": [[-3.1, -7.2, -5.4]],
    "avg_num_neighbors": 8.3,
    "scale": [0.8],
    "shift": [0.16],
    "heads": ["Default"],
}
VARIANTS = {
    "scalars": {"hidden_irreps": "4x0e"},
    "vectors": {},
    "tensors": {"hidden_irreps": "3x0e+3x1o+3x2e", "max_ell": 3},
    "high_degree": {"hidden_irreps": "2x0e+2x2e", "max_ell": 4, "correlation": 2},
    "pair_features": {"correlation": 1},
    "one_layer": {"num_interactions": 1},
    "three_layers": {"num_interactions": 3, "correlation": 2, "cutoff_p": 6},
    "plain_first": {"first_interaction": "plain"},
    "plain": {"first_interaction": "plain", "interaction": "plain"},
    "density": {"first_interaction": "density", "interaction": "density"},
    "density_agnesi_zbl": {
        "first_interaction": "density",
        "interaction": "density_residual",
        "distance_transform": "agnesi",
        "pair_repulsion": True,
    },
    "two_heads": {
        "heads": ["pt_head", "Default"],
        "atomic_energies": [[-3.1, -7.2, -5.4], [-3.0, -7.0, -5.0]],
        "scale": [0.8, 0.7],
        "shift": [0.1, 0.2],
    },
}


def structures() -> list[Atoms]:
    rng = np.random.default_rng(7)
    water = Atoms("OH2", [[0, 0, 0.1], [0.8, 0.1, 0.6], [-0.7, 0.2, 0.5]])
    cell = np.array([[4.1, 0.2, 0.0], [0.3, 4.6, -0.4], [-0.2, 0.5, 5.0]])
    crystal = Atoms(
        "SiO2H2", scaled_positions=rng.uniform(0, 1, (5, 3)), cell=cell, pbc=True
    )
    crystal.positions += rng.normal(0, 0.05, (5, 3))
    return [water, crystal, Atoms("O", [[0.0, 0.0, 0.0]])]


def official_model(given: dict) -> torch.nn.Module:
    several = len(given["heads"]) > 1
    return modules.ScaleShiftMACE(
        r_max=given["r_max"],
        num_bessel=given["num_radial_basis"],
        num_polynomial_cutoff=given["cutoff_p"],
        max_ell=given["max_ell"],
        interaction_cls=modules.interaction_classes[KINDS[given["interaction"]]],
        interaction_cls_first=modules.interaction_classes[
            KINDS[given["first_interaction"]]
        ],
        num_interactions=given["num_interactions"],
        num_elements=len(ELEMENTS),
        hidden_irreps=o3.Irreps(given["hidden_irreps"]),
        MLP_irreps=o3.Irreps(given["readout_hidden_irreps"]),
        atomic_energies=np.array(given["atomic_energies"])[slice(None) if several else 0],
        avg_num_neighbors=given["avg_num_neighbors"],
        atomic_numbers=ELEMENTS,
        correlation=given["correlation"],
        gate=torch.nn.functional.silu,
        radial_MLP=given["radial_mlp"],
        pair_repulsion=given["pair_repulsion"],
        distance_transform={"none": "None", "agnesi": "Agnesi"}[
            given["distance_transform"]
        ],
        heads=given["heads"],
        atomic_inter_scale=given["scale"] if several else given["scale"][0],
        atomic_inter_shift=given["shift"] if several else given["shift"][0],
    )


def main() -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    frames = structures()
    arrays = {}
    for index, atoms in enumerate(frames):
        arrays[f"structure/{index}/numbers"] = atoms.numbers
        arrays[f"structure/{index}/positions"] = atoms.positions
        arrays[f"structure/{index}/cell"] = atoms.cell.array
        arrays[f"structure/{index}/pbc"] = atoms.pbc
    for name, change in VARIANTS.items():
        given = {**BASE, **change}
        torch.manual_seed(1)
        model = official_model(given)
        with torch.no_grad():  # initial weights give forces near zero: make them of order 1
            for parameter in [*model.products.parameters(), *model.readouts.parameters()]:
                parameter.mul_(2.0)
        arrays[f"{name}/arguments"] = np.array(json.dumps(given))
        for key, parameter in model.named_parameters():
            arrays[f"{name}/parameter/{key}"] = parameter.detach().numpy()
        for index, atoms in enumerate(frames):
            config = data.config_from_atoms(
                atoms, key_specification=data.KeySpecification.from_defaults()
            )
            graph = data.AtomicData.from_config(
                config,
                z_table=AtomicNumberTable(ELEMENTS),
                cutoff=given["r_max"],
                heads=given["heads"],
            )
            loader = torch_geometric.dataloader.DataLoader([graph], batch_size=1)
            result = model(next(iter(loader)).to_dict(), compute_stress=True)
            for key in ("energy", "forces", "stress", "node_energy"):
                arrays[f"{name}/result/{index}/{key}"] = result[key].detach().numpy()
        print(name, result["energy"].item())
    np.savez_compressed("variants.npz", **arrays)


main()
