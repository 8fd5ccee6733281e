"""Round trips between mace-torch and ours; runs where both are installed (`exchange.py`).

Models with random weights are made by mace-torch's own constructor and by ours, written by
each code's own means, read by the other, and all predictions are compared. Prints one line
``ROW {...}`` a comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")
os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # e3nn 0.4.4 needs it

import numpy as np  # noqa: E402
import torch  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import bulk, molecule  # noqa: E402
from mace import modules  # noqa: E402
from mace.calculators import MACECalculator  # noqa: E402
from mace.tools.scripts_utils import extract_model  # noqa: E402

# isort: split
from e3nn import o3  # noqa: E402 - after mace, which lets e3nn 0.4.4 load its constants

from mace_train.checkpoints.model_file import (  # noqa: E402
    load_model,
    read_metadata,
    save_model,
)
from mace_train.graph import AtomicGraph  # noqa: E402
from mace_train.model.mace import MACE  # noqa: E402

ALL_ELEMENTS = [*range(1, 84), *range(89, 95)]  # those of MACE-MP-0
FEW_ELEMENTS = [1, 6, 8, 14, 26]
RESIDUAL = ("RealAgnosticResidualInteractionBlock",) * 2
DENSITY = (
    "RealAgnosticDensityInteractionBlock",
    "RealAgnosticDensityResidualInteractionBlock",
)
PLAIN = ("RealAgnosticInteractionBlock", RESIDUAL[1])
KINDS = {
    "RealAgnosticInteractionBlock": "plain",
    "RealAgnosticResidualInteractionBlock": "residual",
    "RealAgnosticDensityInteractionBlock": "density",
    "RealAgnosticDensityResidualInteractionBlock": "density_residual",
}
MEDIUM = "128x0e + 128x1o"
PUBLISHED: dict[str, Any] = {"elements": ALL_ELEMENTS, "r_max": 6.0, "num_bessel": 10}
SMALLER: dict[str, Any] = {"elements": FEW_ELEMENTS, "r_max": 5.0, "num_bessel": 8}
ZBL = {"interactions": DENSITY, "agnesi": True, "zbl": True}

# What differs between forms; `_form` has the rest.
FORMS: dict[str, dict[str, Any]] = {
    "mp-0 small": {**PUBLISHED, "irreps": "128x0e"},
    "mp-0 medium": {**PUBLISHED, "irreps": MEDIUM},
    "mp-0 large": {**PUBLISHED, "irreps": f"{MEDIUM} + 128x2e"},
    "0b3 medium": {**PUBLISHED, "irreps": MEDIUM, **ZBL},
    "tiny": {**SMALLER, "irreps": "16x0e + 16x1o", "max_ell": 2},
    "one layer": {**SMALLER, "irreps": "8x0e + 8x1o", "layers": 1},
    "three layers": {**SMALLER, "irreps": "8x0e + 8x1o", "layers": 3, "correlation": 2},
    "plain first": {**SMALLER, "irreps": "8x0e + 8x1o", "interactions": PLAIN, "p": 6},
    "three heads": {**SMALLER, "irreps": "8x0e + 8x1o", "heads": ["a", "b", "c"], **ZBL},
    "float32": {**SMALLER, "irreps": "16x0e + 16x1o", "dtype": "float32"},
}
Results = list[tuple[float, np.ndarray, np.ndarray | None]]


def _form(name: str) -> dict[str, Any]:
    defaults = {
        "max_ell": 3,
        "layers": 2,
        "correlation": 3,
        "p": 5,
        "interactions": RESIDUAL,
        "agnesi": False,
        "zbl": False,
        "heads": ["Default"],
        "dtype": "float64",
    }
    return {**defaults, **FORMS[name]}


def make_theirs(name: str, seed: int) -> torch.nn.Module:
    """A model by mace-torch's constructor, with random weights and numbers."""
    form, rng = _form(name), np.random.default_rng(seed)
    heads = form["heads"]
    torch.manual_seed(seed)
    torch.set_default_dtype(getattr(torch, form["dtype"]))
    first, others = (modules.interaction_classes[kind] for kind in form["interactions"])
    return modules.ScaleShiftMACE(
        r_max=form["r_max"],
        num_bessel=form["num_bessel"],
        num_polynomial_cutoff=form["p"],
        max_ell=form["max_ell"],
        interaction_cls=others,
        interaction_cls_first=first,
        num_interactions=form["layers"],
        num_elements=len(form["elements"]),
        hidden_irreps=o3.Irreps(form["irreps"]),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=rng.normal(-4.0, 2.0, (len(heads), len(form["elements"]))),
        avg_num_neighbors=31.7,
        atomic_numbers=form["elements"],
        correlation=form["correlation"],
        pair_repulsion=form["zbl"],
        distance_transform="Agnesi" if form["agnesi"] else "None",
        radial_MLP=[64, 64, 64],
        heads=heads,
        atomic_inter_scale=rng.uniform(0.5, 1.0, len(heads)),
        atomic_inter_shift=rng.normal(0.0, 0.2, len(heads)),
    )


def make_ours(name: str, seed: int) -> MACE:
    """A model of the same form by our constructor, with other random weights."""
    form, rng = _form(name), np.random.default_rng(seed)
    heads = form["heads"]
    torch.manual_seed(seed)
    torch.set_default_dtype(getattr(torch, form["dtype"]))
    model = MACE(
        hidden_irreps=form["irreps"],
        max_ell=form["max_ell"],
        correlation=form["correlation"],
        num_interactions=form["layers"],
        r_max=form["r_max"],
        num_radial_basis=form["num_bessel"],
        cutoff_p=form["p"],
        radial_mlp=[64, 64, 64],
        readout_hidden_irreps="16x0e",
        first_interaction=KINDS[form["interactions"][0]],
        interaction=KINDS[form["interactions"][1]],
        distance_transform="agnesi" if form["agnesi"] else "none",
        pair_repulsion=form["zbl"],
        atomic_numbers=form["elements"],
        atomic_energies=rng.normal(-4.0, 2.0, (len(heads), len(form["elements"]))).tolist(),
        avg_num_neighbors=31.7,
        scale=rng.uniform(0.5, 1.0, len(heads)).tolist(),
        shift=rng.normal(0.0, 0.2, len(heads)).tolist(),
        heads=heads,
    )
    model.to(getattr(torch, form["dtype"]))
    return model.eval()


def scale_forces(model: torch.nn.Module, predict: Callable[[], Results]) -> None:
    """Bring what the weights say of forces to the order of 10 eV/Å, by the readouts' ends.

    What is there without readouts, the repulsion, is left as it is.
    """
    ends = [
        weights
        for name, weights in model.named_parameters()
        if name.startswith("readouts") and "linear_1" not in name
    ]
    given = [weights.detach().clone() for weights in ends]
    with_readouts = predict()
    _set(ends, [torch.zeros_like(weights) for weights in given])
    without = predict()
    largest = max(float(np.abs(a[1] - b[1]).max()) for a, b in zip(with_readouts, without))
    _set(ends, [weights * (10.0 / largest) for weights in given])


def _set(ends: list[torch.nn.Parameter], values: list[torch.Tensor]) -> None:
    with torch.no_grad():
        for weights, value in zip(ends, values):
            weights.copy_(value)


def frames(elements: list[int], seed: int) -> list[Atoms]:
    """Crystals, a slab, a molecule and a lone atom, of elements drawn at random."""
    rng = np.random.default_rng(seed)
    made = [
        bulk("NaCl", "rocksalt", 5.2, cubic=True),
        bulk("Fe", "bcc", 2.9).repeat(2),
        bulk("Si", "diamond", 5.4),
        bulk("Al", "fcc", 4.1, cubic=True).repeat((2, 1, 1)),
        molecule("CH3CH2OH"),
        Atoms("O"),
    ]
    made[3].set_cell([8.2, 4.1, 18.0])
    made[3].pbc = (True, True, False)
    for atoms in made:
        atoms.numbers = rng.choice(elements, len(atoms))
        if atoms.pbc.all():
            strain = np.eye(3) + rng.normal(0.0, 0.03, (3, 3))
            atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        atoms.positions += rng.normal(0.0, 0.1, atoms.positions.shape)
    return made


def by_theirs(model: torch.nn.Module, structures: list[Atoms], head: str) -> Results:
    """What mace-torch's calculator says, under the model's dtype."""
    dtype = next(model.parameters()).dtype
    torch.set_default_dtype(dtype)
    name = str(dtype).removeprefix("torch.")
    calculator = MACECalculator(models=[model], default_dtype=name, head=head)
    results: Results = []
    for structure in structures:
        atoms = structure.copy()
        atoms.calc = calculator
        stress = atoms.get_stress(voigt=False) if atoms.pbc.all() else None
        results.append((atoms.get_potential_energy(), atoms.get_forces(), stress))
    return results


def by_ours(model: MACE, structures: list[Atoms], head: str) -> Results:
    """What our model says."""
    dtype, results = next(model.parameters()).dtype, []
    for atoms in structures:
        graph = AtomicGraph.from_atoms(
            atoms,
            elements=model.elements,
            r_max=model.r_max,
            dtype=dtype,
            head=model.heads.index(head),
        )
        said = model(graph, compute_stress=True)
        stress = said.stress[0].detach().numpy() if atoms.pbc.all() else None
        results.append((float(said.energy), said.forces.detach().numpy(), stress))
    return results


def mace_export(checkpoint: Path, output: Path, *words: str) -> Path:
    """Run our command as a user does."""
    command = [sys.executable, "-m", "mace_train.cli.export", f"checkpoint={checkpoint}"]
    command += ["format=mace_torch", f"output={output}", "overwrite=true", *words]
    run(command)
    return output


def run(command: list[str]) -> None:
    """Run a command; its output is shown if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def tell(name: str, direction: str, found: Results, expected: Results, **more: Any) -> None:
    """Print the largest deviations of two codes, and how large the numbers are."""
    pairs = list(zip(found, expected))
    row = {
        "model": name,
        "direction": direction,
        "dtype": _form(name)["dtype"],
        "energy": max(abs(a[0] - b[0]) for a, b in pairs),
        "forces": max(float(np.abs(a[1] - b[1]).max()) for a, b in pairs),
        "stress": max(
            (float(np.abs(a[2] - b[2]).max()) for a, b in pairs if b[2] is not None),
            default=None,
        ),
        "largest_force": max(float(np.abs(b[1]).max()) for _, b in pairs),
        **more,
    }
    print("ROW " + json.dumps(row), flush=True)


def load_theirs(path: Path) -> torch.nn.Module:
    """A ``.model`` file as mace-torch loads it."""
    return torch.load(path, map_location="cpu", weights_only=False)


def state_difference(first: torch.nn.Module, second: torch.nn.Module) -> float:
    """Largest difference of the tensors of two modules, which must have the same names."""
    one, other = first.state_dict(), second.state_dict()
    if one.keys() != other.keys():
        raise SystemExit(f"names differ: {sorted(one.keys() ^ other.keys())[:5]}")
    return max(
        float((value.double() - other[key].double()).abs().max())
        for key, value in one.items()
        if value.numel()
    )


def round_trips(name: str, folder: Path) -> None:
    """Both directions and back, for every head."""
    heads = _form(name)["heads"]
    structures = frames(_form(name)["elements"], seed=5)
    theirs = make_theirs(name, seed=3)
    scale_forces(theirs, lambda: by_theirs(theirs, structures, heads[0]))
    first = folder / "theirs.model"
    torch.save(theirs, first)
    read = load_model(first)
    ours = make_ours(name, seed=4)
    scale_forces(ours, lambda: by_ours(ours, structures, heads[0]))
    save_model(folder / "ours.safetensors", ours, metadata={"note": "made at random"})
    exported = load_theirs(mace_export(folder / "ours.safetensors", folder / "ours.model"))
    assert read_metadata(folder / "ours.model")["note"] == "made at random"
    save_model(folder / "read.safetensors", read, metadata={})
    back = load_theirs(mace_export(folder / "read.safetensors", folder / "back.model"))
    for head in heads:
        named = {"head": head}
        expected = by_theirs(theirs, structures, head)
        tell(name, "theirs -> ours", by_ours(read, structures, head), expected, **named)
        tell(
            name,
            "ours -> theirs",
            by_theirs(exported, structures, head),
            by_ours(ours, structures, head),
            **named,
        )
        state = state_difference(back, theirs)
        found = by_theirs(back, structures, head)
        tell(name, "theirs -> ours -> theirs", found, expected, state=state, **named)


def their_tools(name: str, folder: Path) -> None:
    """What mace-torch's own programs make of an exported file."""
    heads = _form(name)["heads"]
    structures = [a for a in frames(_form(name)["elements"], seed=5) if len(a) > 1]
    ours, path = load_model(folder / "ours.safetensors"), folder / "ours.model"
    scripts = Path(sys.executable).parent
    head = heads[0]
    expected = by_ours(ours, structures, head)
    create = str(scripts / "mace_create_lammps_model")
    run([create, str(path), "--head", head, "--dtype", _form(name)["dtype"]])
    scripted = torch.jit.load(f"{path}-lammps.pt")
    tell(name, "mace_create_lammps_model", by_script(scripted, ours, structures), expected)
    rebuilt = extract_model(load_theirs(path))
    tell(
        name, "fine-tuning (extract_model)", by_theirs(rebuilt, structures, head), expected
    )
    if len(heads) > 1:
        chosen = folder / "chosen.model"
        run([str(scripts / "mace_select_head"), "-n", head, "-o", str(chosen), str(path)])
        found = by_theirs(load_theirs(chosen), structures, head)
        tell(name, "mace_select_head", found, expected)
        alone = mace_export(folder / "ours.safetensors", chosen, f"head={head}")
        found = by_theirs(load_theirs(alone), structures, head)
        tell(name, f"mace-export head={head}", found, expected)


def by_script(
    scripted: Callable[..., dict[str, torch.Tensor]], model: MACE, structures: list[Atoms]
) -> Results:
    """What the TorchScript for LAMMPS says, called as its pair style does, all local."""
    dtype, results = next(model.parameters()).dtype, []
    for atoms in structures:
        graph = AtomicGraph.from_atoms(
            atoms, elements=model.elements, r_max=model.r_max, dtype=dtype
        )
        one_hot = torch.nn.functional.one_hot(graph.element_index, len(model.elements))
        data = {
            "positions": graph.positions,
            "cell": graph.cell[0],
            "node_attrs": one_hot.to(dtype),
            "edge_index": graph.edge_index,
            "unit_shifts": graph.unit_shifts,
            "shifts": graph.unit_shifts @ graph.cell[0],
            "batch": graph.graph_index,
            "ptr": torch.tensor([0, len(atoms)]),
            "energy": torch.zeros(1, dtype=dtype),
        }
        local = torch.ones(len(atoms), dtype=dtype)
        said = scripted(data, local, True)
        stress = None
        if atoms.pbc.all():
            stress = -said["virials"].detach().numpy().reshape(3, 3) / atoms.get_volume()
        energy = float(said["total_energy_local"])
        results.append((energy, said["forces"].detach().numpy(), stress))
    return results


def main() -> None:
    """All round trips of the forms that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("forms", nargs="*", default=list(FORMS))
    args = parser.parse_args()
    for name in args.forms:
        folder = args.folder / name.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        round_trips(name, folder)
        if name in ("mp-0 medium", "0b3 medium", "three heads"):
            their_tools(name, folder)


if __name__ == "__main__":
    main()
