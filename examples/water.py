"""Liquid water: dynamics at 330 K, radial distribution functions, intact molecules.

    python examples/water.py --frames ../shared/data/apps/water_192_120.extxyz \\
        --model examples/models/water/model.safetensors

The model learned an organic molecule, and was fine-tuned on 120 frames of 64 molecules
(deepmd-kit's water example). A box of 12.4 Å and a few picoseconds show the first shell;
no density, no diffusion, and no structure beyond 6 Å can be had from them.
"""

# %% What to run
import argparse
from itertools import pairwise
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from gates import Gate, write_gates
from matplotlib.figure import Figure

from mace_train import MACECalculator

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--model", type=Path, required=True)
parser.add_argument("--frames", type=Path, required=True, help="the first is the start")
parser.add_argument("--output", type=Path, default=Path("examples/results/water"))
parser.add_argument("--picoseconds", type=float, default=4.0, help="after 0.5 to settle")
parser.add_argument("--quick", action="store_true", help="a few steps")
options = parser.parse_args()
STEP, EVERY, TEMPERATURE = 0.5, 20, 330.0  # fs, steps between frames, K
num_settle, num_steps = (round(1000 * ps / STEP) for ps in (0.5, options.picoseconds))
if options.quick:
    num_settle, num_steps, EVERY = 2, 4, 2


# %% Distances between oxygens, and from each hydrogen to its oxygen
def distances(atoms: Atoms, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Å, of all pairs, the nearest images in a rectangular box."""
    moved = atoms.positions[first, None] - atoms.positions[None, second]
    box = atoms.cell.lengths()
    return np.linalg.norm(moved - box * np.rint(moved / box), axis=2)


atoms = ase.io.read(options.frames, 0)
oxygen = np.flatnonzero(atoms.numbers == 8)
hydrogen = np.flatnonzero(atoms.numbers == 1)
edges = np.linspace(0.8, 6.0, 131)
counts = {"O-O": np.zeros(130), "O-H": np.zeros(130)}
longest, temperatures, num_frames = 0.0, [], 0


# %% Langevin dynamics; histograms on the way, so that nothing large is kept
def look() -> None:
    """Take note of a frame."""
    global longest, num_frames
    between, bonds = distances(atoms, oxygen, oxygen), distances(atoms, oxygen, hydrogen)
    counts["O-O"] += np.histogram(between[between > 0], edges)[0]
    counts["O-H"] += np.histogram(bonds, edges)[0]
    longest = max(longest, float(bonds.min(axis=0).max()))
    temperatures.append(atoms.get_temperature())
    num_frames += 1


atoms.calc = MACECalculator(options.model, dtype="float32")
random = np.random.default_rng(0)
thermal = np.sqrt(atoms.get_masses() * units.kB * TEMPERATURE)
atoms.set_momenta(random.normal(size=(len(atoms), 3)) * thermal[:, None])
atoms.set_constraint(FixCom())
run = Langevin(
    atoms,
    timestep=STEP * units.fs,
    temperature_K=TEMPERATURE,
    friction=0.02 / units.fs,
    fixcm=False,
    rng=random,
)
run.run(num_settle)
run.attach(look, interval=EVERY)
run.run(num_steps)

# %% Radial distribution functions
middle = (edges[1:] + edges[:-1]) / 2
shells = np.array([4 / 3 * np.pi * (b**3 - a**3) for a, b in pairwise(edges)])
density = {"O-O": len(oxygen), "O-H": len(hydrogen)}
g = {
    name: count / (num_frames * len(oxygen) * shells * density[name] / atoms.get_volume())
    for name, count in counts.items()
}
first_shell = (middle > 2) & (middle < 3.5)
peak = int(np.argmax(np.where(first_shell, g["O-O"], 0)))
figure = Figure((6, 4), layout="constrained")
axes = figure.subplots()
for name, values in g.items():
    axes.plot(middle, values, label=name)
axes.set(xlabel="r (Å)", ylabel="g(r)", xlim=(0.8, 6), ylim=(0, 4), title="water, 330 K")
axes.legend()
options.output.mkdir(parents=True, exist_ok=True)
figure.savefig(options.output / "water.png", dpi=150)
measured = "2.80 Å, 2.57 (x-rays, 295 K, doi:10.1063/1.4790861)"
gates = [
    Gate("longest O-H bond (Å)", longest, 1.35),
    Gate("first O-O peak, from 2.775 Å (Å)", middle[peak] - 2.775, 0.075, measured),
    Gate("height of that peak, from 2.8", g["O-O"][peak] - 2.8, 0.4, measured),
    Gate("mean temperature, from 330 K", np.mean(temperatures) - TEMPERATURE, 15.0),
]
write_gates(options.output, gates)
