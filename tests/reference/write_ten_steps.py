"""Write ten_steps.npz: a small model before and after ten training steps of mace-torch.

    python write_ten_steps.py

Runs where mace-torch 0.3.16 is installed, which is not a dependency of this project. All in
float64: the arguments of our `MACE`, mace-torch's parameters under their own names before
the first step, after one and after ten; a few random periodic structures with labels, in
two batches that take turns; and the loss of each step. Loss, groups of parameters, clipping
and optimizer are what mace_run_train makes of its options.
"""

import argparse
import json
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import mace  # noqa: E402, F401 - prepares torch for e3nn 0.4.4, so it stands before it
import numpy as np  # noqa: E402
import torch  # noqa: E402
from e3nn import o3  # noqa: E402
from mace import data, modules  # noqa: E402
from mace.tools import AtomicNumberTable, scripts_utils, torch_geometric  # noqa: E402

ELEMENTS = [1, 8, 14, 26]
NUM_STRUCTURES, BATCH_SIZE, NUM_STEPS = 6, 3, 10
MODEL = {
    "hidden_irreps": "8x0e + 8x1o",
    "max_ell": 2,
    "correlation": 3,
    "num_interactions": 2,
    "r_max": 4.0,
    "num_radial_basis": 6,
    "cutoff_p": 5,
    "radial_mlp": [16, 16],
    "readout_hidden_irreps": "8x0e",
    "first_interaction": "residual",
    "interaction": "residual",
    "distance_transform": "none",
    "pair_repulsion": False,
    "atomic_numbers": ELEMENTS,
    "atomic_energies": [-3.1, -7.2, -5.4, -8.3],
    "avg_num_neighbors": 15.3,
    "scale": 0.8,
    "shift": 0.16,
}
TRAINING = {
    "energy_weight": 1.0,
    "forces_weight": 10.0,
    "stress_weight": 100.0,
    "huber_delta": 0.01,
    "lr": 0.01,
    "weight_decay": 1e-3,  # large enough to tell the groups apart
    "clip_norm": 0.006,  # small enough to shorten some of the gradients
}


def structures() -> list[dict[str, np.ndarray]]:
    """Random periodic structures of 3 to 8 atoms, with random labels."""
    rng = np.random.default_rng(3)
    made = []
    for place in range(NUM_STRUCTURES):
        num_atoms = 3 + place
        length = (num_atoms * 16.0) ** (1 / 3)
        cell = np.eye(3) * length + rng.normal(0, 0.3, (3, 3))
        stress = rng.normal(0, 0.05, (3, 3))
        made.append(
            {
                "numbers": rng.choice(ELEMENTS, num_atoms),
                "positions": rng.uniform(0, 1, (num_atoms, 3)) @ cell,
                "cell": cell,
                "energy": np.array(-6.0 * num_atoms + rng.normal()),
                "forces": rng.normal(0, 0.5, (num_atoms, 3)),
                "stress": (stress + stress.T) / 2,
            }
        )
    return made


def build() -> torch.nn.Module:
    """The model with random weights, strong enough for forces of order one."""
    torch.manual_seed(1)
    residual = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    model = modules.ScaleShiftMACE(
        r_max=MODEL["r_max"],
        num_bessel=MODEL["num_radial_basis"],
        num_polynomial_cutoff=MODEL["cutoff_p"],
        max_ell=MODEL["max_ell"],
        interaction_cls=residual,
        interaction_cls_first=residual,
        num_interactions=MODEL["num_interactions"],
        num_elements=len(ELEMENTS),
        hidden_irreps=o3.Irreps(MODEL["hidden_irreps"]),
        MLP_irreps=o3.Irreps(MODEL["readout_hidden_irreps"]),
        atomic_energies=np.array(MODEL["atomic_energies"]),
        avg_num_neighbors=MODEL["avg_num_neighbors"],
        atomic_numbers=ELEMENTS,
        correlation=MODEL["correlation"],
        gate=torch.nn.functional.silu,
        radial_MLP=MODEL["radial_mlp"],
        radial_type="bessel",
        atomic_inter_scale=MODEL["scale"],
        atomic_inter_shift=MODEL["shift"],
        use_reduced_cg=False,
    )
    with torch.no_grad():
        for parameter in (*model.products.parameters(), *model.readouts.parameters()):
            parameter.mul_(2.0)
    return model


def batches(made: list[dict[str, np.ndarray]]) -> list:
    """The structures as mace-torch's loader gives them."""
    graphs = []
    names = ("energy", "forces", "stress")
    for structure in made:
        configuration = data.Configuration(
            atomic_numbers=structure["numbers"],
            positions=structure["positions"],
            cell=structure["cell"],
            pbc=(True, True, True),
            properties={name: structure[name] for name in names},
            property_weights=dict.fromkeys(names, 1.0),
        )
        graphs.append(
            data.AtomicData.from_config(
                configuration, z_table=AtomicNumberTable(ELEMENTS), cutoff=MODEL["r_max"]
            )
        )
    return list(torch_geometric.dataloader.DataLoader(graphs, batch_size=BATCH_SIZE))


def make_optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    """What mace_run_train makes of ``--optimizer=adam --amsgrad``."""
    options = argparse.Namespace(
        optimizer="adam",
        lr=TRAINING["lr"],
        weight_decay=TRAINING["weight_decay"],
        amsgrad=True,
        beta=0.9,
        lr_params_factors="{}",
        freeze=None,
    )
    return scripts_utils.get_optimizer(
        options, scripts_utils.get_params_options(options, model)
    )


def main() -> None:
    """Train, and write all of it."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    made, model = structures(), build()
    arrays = {
        "model": np.array(json.dumps(MODEL)),
        "training": np.array(json.dumps(TRAINING)),
    }
    for place, structure in enumerate(made):
        arrays |= {f"structure/{place}/{name}": value for name, value in structure.items()}

    def keep(step: int) -> None:
        for name, parameter in model.named_parameters():
            arrays[f"weights/{step}/{name}"] = parameter.detach().numpy().copy()

    optimizer, loaded, losses = make_optimizer(model), batches(made), []
    names = ("energy_weight", "forces_weight", "stress_weight", "huber_delta")
    loss_function = modules.loss.UniversalLoss(**{name: TRAINING[name] for name in names})
    keep(0)
    for step in range(1, NUM_STEPS + 1):
        batch = loaded[(step - 1) % len(loaded)]
        optimizer.zero_grad(set_to_none=True)
        output = model(
            batch.to_dict(), training=True, compute_force=True, compute_stress=True
        )
        loss = loss_function(pred=output, ref=batch)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(
            model.parameters(), max_norm=TRAINING["clip_norm"]
        )
        optimizer.step()
        losses.append(loss.item())
        print(step, losses[-1], norm.item(), output["forces"].abs().max().item())
        if step in (1, NUM_STEPS):
            keep(step)
    np.savez_compressed(
        Path(__file__).with_name("ten_steps.npz"), losses=np.array(losses), **arrays
    )


if __name__ == "__main__":
    main()
