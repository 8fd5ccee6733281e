"""Errors of a mace-torch model on the frames of one file, as JSON on standard output.

Run by the interpreter of mace-torch's own environment (see ``mace_torch_peer.py``), so it
imports nothing of ours; the eight keys are those of our ``results.json``.
"""

import argparse
import json

import numpy as np
from ase.io import iread
from mace.calculators import MACECalculator


def main() -> None:
    """Predict every frame and print mean absolute and root mean square errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("frames")
    args = parser.parse_args()
    calculator = MACECalculator(
        model_paths=args.model, device="cpu", default_dtype="float32"
    )
    errors: dict[str, list[np.ndarray]] = {
        "energy_per_atom": [],
        "forces": [],
        "stress": [],
    }
    num_atoms = 0
    for frame in iread(args.frames, index=":"):
        predicted = frame.copy()
        predicted.calc = calculator
        energy = predicted.get_potential_energy() - frame.get_potential_energy()
        errors["energy_per_atom"].append(np.array([energy / len(frame)]))
        errors["forces"].append((predicted.get_forces() - frame.get_forces()).ravel())
        stress = predicted.get_stress(voigt=False) - frame.get_stress(voigt=False)
        errors["stress"].append(stress.ravel())
        num_atoms += len(frame)
    results: dict[str, float | int] = {}
    for name, parts in errors.items():
        residuals = np.concatenate(parts)
        results[f"{name}_mae"] = float(np.abs(residuals).mean())
        results[f"{name}_rmse"] = float(np.sqrt(np.square(residuals).mean()))
    results["num_frames"] = len(errors["energy_per_atom"])
    results["num_atoms"] = num_atoms
    print("RESULTS " + json.dumps(results))


if __name__ == "__main__":
    main()
