"""CO2 on In2O3(110): from a molecule above the surface to a carbonate, with ASE's NEB.

    python examples/co2_on_in2o3.py --model examples/models/in2o3/model.safetensors

The model learned CHGNet 0.3.0, not DFT, around this path, and is held against it: single
points of CHGNet on the model's band, and adsorption energies with structures that each
relaxed from the same starts; CHGNet has more than one minimum near the carbonate. It cannot
show the mechanism by which CO2 becomes methanol: no hydrogen, no oxygen vacancy, no
dispersion that was not in the labels, one site of a thin slab.
"""

# %% What to run
import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from gates import Gate, write_gates
from matplotlib.figure import Figure
from structures.in2o3 import SITE, band, carbon_dioxide, relaxed, slab, with_molecule
from teacher import teacher

from mace_train import MACECalculator

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--model", type=Path, required=True)
parser.add_argument("--output", type=Path, default=Path("examples/results/co2_on_in2o3"))
parser.add_argument("--quick", action="store_true", help="a few steps, without a teacher")
options = parser.parse_args()
if not options.model.is_file():
    sys.exit(f"error: {options.model} not found; make example-models makes it")
warnings.filterwarnings("ignore", module="(chgnet|pymatgen)")
CARBONATE = "a carbonate by XPS and DFT on (111), arXiv:2308.12657"
WAYS = ("physisorbed", "chemisorbed")
num_steps = 2 if options.quick else 300


# %% Minima, and the path between them
def minima(calculator: Calculator) -> dict[str, Atoms]:
    """Clean slab, gas and both ways to adsorb, relaxed."""
    starts = {"clean": slab(), "gas": carbon_dioxide()}
    found = {name: relaxed(a, calculator, 0.03, num_steps) for name, a in starts.items()}
    for way in WAYS:
        atoms = with_molecule(found["clean"], way)
        found[way] = relaxed(atoms, calculator, 0.03, num_steps)
    return found


def energies(images: list[Atoms], apart: list[Atoms], calculator: Calculator) -> np.ndarray:
    """Energies of images less those of slab and gas apart, all as they are, eV."""
    values = []
    for atoms in [*images, *apart]:
        atoms = atoms.copy()
        atoms.calc = calculator
        values.append(atoms.get_potential_energy())
    return np.array(values[:-2]) - values[-2] - values[-1]


calculator = MACECalculator(options.model, dtype="float64")
found = minima(calculator)
images = band(*(found[way] for way in WAYS), between=3, fmax=0.05, steps=num_steps)
apart = [found["clean"], found["gas"]]
own = energies(images, apart, calculator)
bond = images[-1].get_distance(-3, SITE, mic=True)
angle = images[-1].get_angle(-2, -3, -1, mic=True)
steps = np.diff([atoms.positions for atoms in images], axis=0)
along = np.cumsum([0.0, *np.linalg.norm(steps, axis=(1, 2))])
curves = {"own model": (along, own, "o-")}
gates = [
    Gate("energies that are not finite", np.sum(~np.isfinite(own)), 0),
    Gate("barrier from the physisorbed molecule (eV)", own.max() - own[0]),
    Gate("carbonate: angle O-C-O (degrees)", angle, None, CARBONATE),
    Gate("carbonate: C to oxygen of the surface (Å)", bond),
]

# %% CHGNet on the model's band, and its own minima
if not options.quick:
    chgnet = teacher()
    single = energies(images, apart, chgnet)
    theirs = minima(chgnet)
    gone_on = relaxed(found["chemisorbed"], chgnet, 0.03, num_steps)
    ends = [*(theirs[way] for way in WAYS), gone_on]
    *bound, deeper = energies(ends, [theirs["clean"], theirs["gas"]], chgnet)
    curves["CHGNet, the same structures"] = (along, single, "s--")
    curves["CHGNet, relaxed by itself"] = (along[[0, -1]], bound, "k*")
    rmse = np.sqrt(np.mean((own - single) ** 2))
    per_atom = 1000 * rmse / len(images[0])
    gates += [
        Gate("energy profile: RMSE (meV/atom)", per_atom, 10),
        Gate("energy profile: RMSE (eV for the cell)", rmse),
        Gate("barrier by CHGNet's single points (eV)", single.max() - single[0]),
    ]
    for way, value, right in zip(WAYS, own[[0, -1]], bound):
        off, told = 1000 * (value - right), f"{value:.3f} eV; CHGNet {right:.3f} eV"
        gates.append(Gate(f"adsorption energy, {way}, off by (meV)", off, 50, told))
    gates.append(Gate("chemisorbed, CHGNet from the model's minimum (eV)", deeper))

# %% Figure and gates
figure = Figure((6, 4), layout="constrained")
axes = figure.subplots()
for name, (x, y, style) in curves.items():
    axes.plot(x, y, style, label=name)
axes.set(xlabel="along the band, all atoms (Å)", ylabel="energy from slab and gas (eV)")
axes.set_title("CO2 on In2O3(110)")
axes.legend()
options.output.mkdir(parents=True, exist_ok=True)
figure.savefig(options.output / "co2_on_in2o3.png", dpi=150)
write_gates(options.output, gates)
