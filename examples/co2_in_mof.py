"""CO2 at the open metal sites of Mg-MOF-74: dynamics at 300 K with dispersion.

    python examples/co2_in_mof.py --data-dir ../shared/data \\
        --model examples/models/mofs/model.safetensors

54 atoms of Zn-MOF-74's primitive cell, Mg for Zn, and one CO2. The model learned CHGNet
0.3.0, not DFT; D3(BJ) is added, as one does to PBE. One molecule and 5 ps can show that it
stays whole and visits metals, but neither uptake nor diffusion constants. Needs
`pip install 'mace-train[examples]'`.
"""

# %% What to run
import argparse
import sys
from pathlib import Path

import numpy as np
from ase import units
from ase.constraints import FixCom
from ase.data import covalent_radii
from ase.filters import UnitCellFilter
from ase.md.langevin import Langevin
from ase.optimize import LBFGS
from gates import Gate, write_gates
from matplotlib.figure import Figure
from structures.mofs import co2_at_metal, mg_mof_74

from mace_train import MACECalculator

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--model", type=Path, required=True)
parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
parser.add_argument("--output", type=Path, default=Path("examples/results/co2_in_mof"))
parser.add_argument("--picoseconds", type=float, default=5.0, help="after 0.5 to settle")
parser.add_argument("--quick", action="store_true", help="a few steps, without D3")
options = parser.parse_args()
STEP, EVERY, TEMPERATURE = 1.0, 10, 300.0  # fs, steps between frames, K
num_relax, num_settle, num_steps = 100, 500, round(1000 * options.picoseconds / STEP)
# At the usual 40 bohr D3 takes 0.2 s a step of its own, with these settings 0.015 s; its
# forces change by 0.4 meV/Å at most.
D3 = {"cutoff": 12.0, "coordination_cutoff": 8.0, "smooth_cutoff": True, "dtype": "float32"}
if options.quick:
    num_relax, num_settle, num_steps, EVERY, D3 = 2, 2, 8, 2, False

# %% The framework relaxed with model and D3, and a CO2 near one of its metals
try:
    start = mg_mof_74(options.data_dir)
    calculator = MACECalculator(options.model, dtype="float32", dispersion=D3)
except (ImportError, OSError) as error:
    sys.exit(f"error: {error}")
start.calc = calculator
LBFGS(UnitCellFilter(start), logfile=None).run(fmax=0.05, steps=num_relax)
atoms = co2_at_metal(start, int(np.argmax(start.symbols == "Mg")), 2.7, 45.0)
atoms.calc = calculator
oxygens, carbon, metals = [-3, -1], -2, np.flatnonzero(atoms.symbols == "Mg")
radii = covalent_radii[atoms.numbers]
touching = radii[:, None] + radii - 100 * np.eye(len(atoms))  # no atom touches itself

# %% Langevin dynamics
at_first = atoms.get_all_distances(mic=True)
bonded = at_first < 1.25 * touching
bonded[-3:] = bonded[:, -3:] = False  # the framework's
near, bonds, temperatures, num_close, stretch = [], [], [], 0, 0.0


def look() -> None:
    """Take note of a frame."""
    global num_close, stretch
    between = atoms.get_all_distances(mic=True)
    near.append(between[np.ix_(oxygens, metals)].min())
    bonds.append(between[oxygens, carbon])
    temperatures.append(atoms.get_temperature())
    num_close += bool((between < 0.7 * touching).any())
    stretch = max(stretch, float((between[bonded] / at_first[bonded]).max()))


rng = np.random.default_rng(0)
thermal = np.sqrt(atoms.get_masses() * units.kB * TEMPERATURE)
atoms.set_momenta(rng.normal(size=(len(atoms), 3)) * thermal[:, None])
atoms.set_constraint(FixCom())
settings = {"temperature_K": TEMPERATURE, "friction": 0.01 / units.fs, "fixcm": False}
run = Langevin(atoms, STEP * units.fs, rng=rng, **settings)
run.run(num_settle)
run.attach(look, interval=EVERY)
run.run(num_steps)

# %% Figure and gates
near, bonds = np.array(near), np.array(bonds)
time = np.arange(len(near)) * EVERY * STEP / 1000  # ps
figure = Figure((6, 5), layout="constrained")
upper, lower = figure.subplots(2, 1, sharex=True)
upper.plot(time, near, linewidth=1)
upper.axhspan(2.2, 2.8, color="0.9", zorder=0)
upper.set(ylabel="nearest Mg-O(CO2) (Å)", title="CO2 in Mg-MOF-74, 300 K, own model + D3")
lower.plot(time, bonds, linewidth=0.7)
lower.axhspan(1.10, 1.25, color="0.9", zorder=0)
lower.set(xlabel="time (ps)", ylabel="C-O of CO2 (Å)", xmargin=0)
options.output.mkdir(parents=True, exist_ok=True)
figure.savefig(options.output / "co2_in_mof.png", dpi=150)
farther = np.abs(bonds.mean(axis=0) - 1.175).max()
outside = 100 * np.mean(np.abs(bonds - 1.175) > 0.075)
no_visit = 100 * np.mean(np.abs(near - 2.5) > 0.3)
gates = [
    Gate("C-O of CO2: farther mean, from 1.175 Å (Å)", farther, 0.075),
    Gate("C-O of CO2: shortest (Å)", bonds.min()),
    Gate("C-O of CO2: longest (Å)", bonds.max()),
    Gate("C-O of CO2: outside of 1.10 to 1.25 Å (% of bonds seen)", outside),
    Gate("no Mg-O(CO2) in 2.2 to 2.8 Å (% of frames)", no_visit, 99),
    Gate("nearest Mg-O(CO2): mean (Å)", near.mean()),
    Gate("frames with atoms nearer than 0.7 of their radii", num_close, 0),
    Gate("framework's bonds: longest over its first length", stretch, 1.3),
    Gate("mean temperature, from 300 K", np.mean(temperatures) - TEMPERATURE, 15),
]
write_gates(options.output, gates)
