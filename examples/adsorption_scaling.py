"""Scaling of adsorption energies: OH against O in the fcc hollows of seven metals.

    python examples/adsorption_scaling.py --model examples/models/surfaces/model.safetensors

Energies are relative to H2O, H2 and the clean slab. Bond counting makes the slope 1/2, as O
lacks two electrons and OH one (Abild-Pedersen et al., Phys. Rev. Lett. 99, 016105, 2007).
Labels are CHGNet 0.3.0's, not DFT, and the model is held against CHGNet. OH stands upright:
on some metals it tilts or prefers another site. Metals that it did not learn are unknown to
the model. Needs `pip install 'mace-train[examples]'`.
"""

# %% What to run
import argparse
import sys
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator
from gates import Gate, write_gates
from matplotlib.figure import Figure
from structures.surfaces import METALS, adsorption_energies
from teacher import teacher

from mace_train import MACECalculator

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--model", type=Path, required=True)
parser.add_argument(
    "--output", type=Path, default=Path("examples/results/adsorption_scaling")
)
parser.add_argument("--metals", nargs="+", choices=METALS, default=list(METALS))
parser.add_argument("--quick", action="store_true", help="few steps, and no teacher")
options = parser.parse_args()
if not options.model.is_file():
    sys.exit(f"error: {options.model} not found; make example-models makes it")
if len(options.metals) < 2:
    sys.exit("error: a line needs two metals: --metals Cu Pt")


# %% O and OH on each metal, and the line through them
def both(calculator: Calculator) -> np.ndarray:
    """Adsorption energies of O and OH, eV: (metals, 2)."""
    places = [(metal, kind, "fcc") for metal in options.metals for kind in ("O", "OH")]
    found = adsorption_energies(calculator, places, steps=2 if options.quick else 200)
    return np.array([found[place] for place in places]).reshape(-1, 2)


def line(energies: np.ndarray) -> np.ndarray:
    """Slope and intercept of OH over O."""
    return np.polyfit(energies[:, 0], energies[:, 1], 1)


runs = {"own model": both(MACECalculator(options.model, dtype="float64"))}
if not options.quick:
    runs["CHGNet"] = both(teacher())

# %% Figure
figure = Figure((5.5, 4.5), layout="constrained")
axes = figure.subplots()
for (name, found), color, marker in zip(
    runs.items(), ("C0", "0.4"), ("o", "s"), strict=False
):
    slope, intercept = line(found)
    ends = np.array([found[:, 0].min() - 0.15, found[:, 0].max() + 0.15])
    label = f"{name}: slope {slope:.2f}"
    axes.plot(*found.T, marker, color=color, markerfacecolor="none", label=label)
    axes.plot(ends, slope * ends + intercept, color=color, linewidth=1)
for metal, place in zip(options.metals, runs["own model"], strict=True):
    axes.annotate(metal, place, (6, -10), textcoords="offset points")
axes.set(xlabel="adsorption energy of O (eV)", ylabel="adsorption energy of OH (eV)")
axes.legend()
options.output.mkdir(parents=True, exist_ok=True)
figure.savefig(options.output / "adsorption_scaling.png", dpi=150)

# %% Gates
model, reference = runs["own model"], runs.get("CHGNet")
told = "0.5, bond counting (doi:10.1103/PhysRevLett.99.016105)"
if reference is not None:
    told = f"{line(reference)[0]:.3f}, CHGNet; {told}"
gates = [Gate("slope of OH over O", line(model)[0], None, told)]
if reference is not None:
    off = 1000 * (model - reference)
    gates.append(Gate("slope, off by", line(model)[0] - line(reference)[0], 0.05))
    gates += [
        Gate(f"{kind} on the worst metal, off by (meV)", np.abs(off[:, column]).max(), 50)
        for column, kind in enumerate(("O", "OH"))
    ]
write_gates(options.output, gates)
