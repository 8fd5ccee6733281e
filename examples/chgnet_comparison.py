"""A model of one's own and CHGNet on the same test frames, with aligned energies.

    python examples/chgnet_comparison.py --model examples/models/silicon/model.safetensors \
        --frames ../shared/data/mlearn_Si_test.extxyz

Energies of two methods differ by a constant for each element; the constants that fit the
labels best are taken off for both, so that differences of energy are compared. The frames
are PBE (mlearn). CHGNet 0.3.0 learned PBE and PBE+U of many materials, the model frames of
silicon alone: it should win here, and nothing follows for any other material. Needs
`pip install 'mace-train[examples]'`.
"""

# %% What to compare
import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.io import read
from gates import Gate, write_gates
from matplotlib.figure import Figure
from rich.progress import track

from mace_train import MACECalculator

try:
    from chgnet.model.dynamics import CHGNetCalculator
except ImportError as error:
    sys.exit(f"error: {error}: pip install 'mace-train[examples]'")

DATA = Path("../shared/data/mlearn_Si_test.extxyz")
parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--model", type=Path, required=True)
parser.add_argument("--frames", type=Path, default=DATA, help="with labels")
parser.add_argument(
    "--output", type=Path, default=Path("examples/results/chgnet_comparison")
)
parser.add_argument("--quick", action="store_true", help="the first three frames only")
options = parser.parse_args()
if not options.frames.is_file():
    sys.exit(f"error: {options.frames} not found: give labelled frames with --frames")
warnings.filterwarnings("ignore", module="(chgnet|pymatgen)")
QUANTITIES = (
    ("energy", "meV/atom", 1000, "29, CHGNet on its own validation set"),
    ("forces", "meV/Å", 1000, "70, CHGNet on its own validation set"),
    ("stress", "GPa", 1 / units.GPa, "0.308, CHGNet on its own validation set"),
)


# %% Energies per atom, forces and stress of all frames
def values(frames: list[Atoms], calculator: Calculator | None, name: str) -> dict:
    """What a calculator says, or the labels if there is none."""
    found = {"energy": [], "forces": [], "stress": []}
    for frame in track(frames, name):
        atoms = frame.copy()
        atoms.calc = calculator or frame.calc
        found["energy"].append(atoms.get_potential_energy() / len(atoms))
        found["forces"].append(atoms.get_forces().ravel())
        found["stress"].append(atoms.get_stress())
    return {key: np.hstack(value) for key, value in found.items()}


def align(frames: list[Atoms], energies: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Energies less the constants of the elements that fit the labels best, eV/atom."""
    elements = sorted({number for frame in frames for number in frame.numbers})
    shares = np.array(
        [[np.mean(f.numbers == element) for element in elements] for f in frames]
    )
    return energies - shares @ np.linalg.lstsq(shares, energies - labels, rcond=None)[0]


frames = read(options.frames, ":3" if options.quick else ":")
labels = values(frames, None, "labels")
calculators = {
    "CHGNet": CHGNetCalculator(use_device="cpu"),
    "own model": MACECalculator(options.model, dtype="float64"),
}
predicted = {name: values(frames, calc, name) for name, calc in calculators.items()}
for found in predicted.values():
    found["energy"] = align(frames, found["energy"], labels["energy"])

# %% Errors, parity plots and gates
gates, ratio = [], {}
figure = Figure((11, 3.8), layout="constrained")
for axis, (key, unit, factor, published) in zip(figure.subplots(1, 3), QUANTITIES):
    x = factor * labels[key]
    errors = {}
    for name, found in predicted.items():
        y = factor * found[key]
        errors[name] = np.abs(y - x).mean()
        axis.plot(x, y, ".", markersize=3, label=f"{name}, MAE {errors[name]:.3g}")
        told = published if name == "CHGNet" else ""
        gates.append(Gate(f"{key}, {name}: MAE ({unit})", errors[name], None, told))
    axis.axline((x[0], x[0]), slope=1, color="black", linewidth=0.5)
    axis.set(title=f"{key} ({unit})", xlabel="label", ylabel="predicted")
    axis.legend(fontsize="small")
    ratio[key] = errors["own model"] / errors["CHGNet"]
gates.append(Gate("forces: own error over CHGNet's", ratio["forces"], 1.0))
options.output.mkdir(parents=True, exist_ok=True)
figure.savefig(options.output / "parity.png", dpi=150)
print(f"{len(frames)} frames of {options.frames}")
write_gates(options.output, gates)
