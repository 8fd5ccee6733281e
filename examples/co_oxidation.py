"""CO oxidation on Cu(111): adsorption energies, and CO + O -> CO2 by a climbing-image band.

    python examples/co_oxidation.py --model examples/models/copper/model.safetensors

Labels are CHGNet 0.3.0's, not DFT, and the model is held against CHGNet. CO is measured to
stand on top; gradient-corrected DFT prefers the hollow (arXiv:cond-mat/0408394), as CHGNet
does. O is relative to half of O2, CO to its gas. The band leads from CO on top and O in a
hollow to a bent CO2 on the surface. No coverage but that of a 2x2 cell, no surface steps,
no entropy. Needs `pip install 'mace-train[examples]'`.
"""

# %% What to run
import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.optimize import BFGS, FIRE
from gates import Gate, write_gates
from matplotlib.figure import Figure
from structures import copper, surfaces
from teacher import teacher

from mace_train import MACECalculator

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--model", type=Path, required=True)
parser.add_argument("--output", type=Path, default=Path("examples/results/co_oxidation"))
parser.add_argument("--quick", action="store_true", help="few steps, and no teacher")
options = parser.parse_args()
if not options.model.is_file():
    sys.exit(f"error: {options.model} not found; make example-models makes it")
steps, band_steps, num_images = (2, 2, 3) if options.quick else (200, 150, 7)
PLACES = [("Cu", *place) for place in copper.PLACES]
GASES = {"CO": {"CO": 1.0}, "O": {"O2": 0.5}}


# %% Adsorption energies, and the path
@dataclass
class Reaction:
    """What one calculator says; energies in eV, distances in Å."""

    told: dict[str, float]
    images: list[Atoms]
    energies: np.ndarray  # of the images, relative to the first
    steps: int
    fmax: float


def reaction(calculator: Calculator) -> Reaction:
    """Relaxed adsorbates, and a band between relaxed ends, which climbs when it is near."""
    found = surfaces.adsorption_energies(calculator, PLACES, steps=steps, references=GASES)
    told = {f"{kind} {site}": energy for (_, kind, site), energy in found.items()}
    ends, apart = copper.reaction_ends(), (surfaces.clean("Cu"), surfaces.in_box("CO2"))
    start, end, slab, gas = (
        surfaces.relaxed(atoms, calculator, steps=steps) for atoms in (*ends, *apart)
    )
    neb = copper.band(start, end, calculator, num_images)
    first, second = FIRE(neb, logfile=None), BFGS(neb, logfile=None, maxstep=0.05)
    first.run(fmax=0.3, steps=band_steps // 3)
    neb.climb = True
    second.run(fmax=0.05, steps=band_steps - first.nsteps)
    fmax = float(np.linalg.norm(neb.get_forces(), axis=1).max())
    energies = neb.energies - neb.energies[0]
    free = slab.get_potential_energy() + gas.get_potential_energy()
    told |= {"barrier": energies.max(), "CO2 on Cu": energies[-1]}
    told |= {"CO2 as gas": free - neb.energies[0]}
    return Reaction(told, neb.images, energies, first.nsteps + second.nsteps, fmax)


runs = {"own model": reaction(MACECalculator(options.model, dtype="float64"))}
if not options.quick:
    runs["CHGNet"] = reaction(teacher())

# %% Figure
figure = Figure((8.5, 4), layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=(2, 3))
names = [f"{kind} {site}" for _, kind, site in PLACES]
for (name, run), color, marker in zip(runs.items(), ("C0", "0.4"), "os", strict=False):
    style = {"color": color, "marker": marker, "markerfacecolor": "none", "label": name}
    left.plot(names, [run.told[key] for key in names], linestyle="none", **style)
    distances = [image.get_distance(12, 13, mic=True) for image in run.images]
    right.plot(distances, run.energies, **style)
    right.axhline(run.told["CO2 as gas"], color=color, linestyle=":", linewidth=1)
left.axhline(0, color="0.8", linewidth=1)
left.set(ylabel="adsorption energy (eV)", title="on Cu(111)", xmargin=0.2)
right.set(xlabel="O-C distance (Å)", ylabel="energy (eV)")
right.set_title("CO + O → CO$_2$ on Cu(111); dotted: CO$_2$ as gas")
right.invert_xaxis()
right.legend()
options.output.mkdir(parents=True, exist_ok=True)
figure.savefig(options.output / "co_oxidation.png", dpi=150)

# %% Gates
model, known = runs["own model"], runs["CHGNet"].told if "CHGNet" in runs else {}
gates = [
    Gate("steps of the band", model.steps, 150),
    Gate("largest force on the band (eV/Å)", model.fmax, 0.05),
]
for key, value in model.told.items():
    words = f"{known[key]:.3f} eV, CHGNet" if known else ""
    gates.append(Gate(f"{key} (eV)", value, None, words))
for key in [*names, "barrier"] if known else []:
    gates.append(Gate(f"{key}, off by (meV)", 1000 * (model.told[key] - known[key]), 50))
if known:
    gates.append(Gate("largest force on CHGNet's band (eV/Å)", runs["CHGNet"].fmax))
write_gates(options.output, gates)
