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
from exchange_forms import FORMS, form_of, frames, make_ours, make_theirs  # noqa: E402
from mace.calculators import MACECalculator  # noqa: E402
from mace.tools.scripts_utils import extract_model  # noqa: E402

from mace_train.checkpoints.model_file import (  # noqa: E402
    load_model,
    read_metadata,
    save_model,
)
from mace_train.graph import AtomicGraph  # noqa: E402
from mace_train.model.mace import MACE  # noqa: E402

Results = list[tuple[float, np.ndarray, np.ndarray | None]]


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
        "dtype": form_of(name)["dtype"],
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
    heads = form_of(name)["heads"]
    structures = frames(form_of(name)["elements"], seed=5)
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
    heads = form_of(name)["heads"]
    structures = [a for a in frames(form_of(name)["elements"], seed=5) if len(a) > 1]
    ours, path = load_model(folder / "ours.safetensors"), folder / "ours.model"
    scripts = Path(sys.executable).parent
    head = heads[0]
    expected = by_ours(ours, structures, head)
    create = str(scripts / "mace_create_lammps_model")
    run([create, str(path), "--head", head, "--dtype", form_of(name)["dtype"]])
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
