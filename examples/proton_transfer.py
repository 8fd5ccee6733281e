"""Proton transfer in acetylacetone: a path between two minima, and DFT labels beside it.

    python examples/proton_transfer.py --model examples/models/acac/model.safetensors \\
        --frames ../shared/data/acac_train_300K.xyz ../shared/data/acac_test_MD_300K.xyz

The model learned 500 frames at 600 K (DFT, BOTNet's data). The enol's proton hops between
two oxygens that are alike, so both ends have one energy. Other labelled frames in which it
is half-way tell the model's error there. The barrier is classical: no tunnelling.
"""

# %% What to run
import argparse
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.mep import NEB
from ase.optimize import FIRE
from gates import Gate, write_gates
from matplotlib.figure import Figure

from mace_train import MACECalculator

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--model", type=Path, required=True)
parser.add_argument("--frames", type=Path, nargs="+", required=True)
parser.add_argument("--output", type=Path, default=Path("examples/results/proton_transfer"))
parser.add_argument("--quick", action="store_true", help="three images, a few steps")
options = parser.parse_args()
num_images, num_steps, fmax = (3, 5, 1.0) if options.quick else (11, 400, 0.03)
calculator = MACECalculator(options.model, dtype="float64")


# %% Where the proton is
def oxygens(atoms: Atoms) -> np.ndarray:
    """The two oxygens."""
    return np.flatnonzero(atoms.numbers == 8)


def proton(atoms: Atoms) -> int:
    """The hydrogen for which the farther of the two oxygens is nearest."""
    hydrogen = np.flatnonzero(atoms.numbers == 1)
    far = [atoms.get_distances(h, oxygens(atoms)).max() for h in hydrogen]
    return int(hydrogen[np.argmin(far)])


def half_way(atoms: Atoms) -> float:
    """How much nearer the proton is to the first oxygen than to the second, Å."""
    first, second = atoms.get_distances(proton(atoms), oxygens(atoms))
    return float(second - first)


# %% The model's errors on labelled frames, near the middle of the path and elsewhere
frames = [atoms for path in options.frames for atoms in ase.io.read(path, ":")]
frames = frames[:20] if options.quick else frames
near, count = sorted(frames, key=lambda a: abs(half_way(a))), max(1, len(frames) // 50)
middle, others = near[:count], near[count::10]


def errors(chosen: list[Atoms]) -> tuple[np.ndarray, float]:
    """Energies less those of the labels, eV, and RMSE of forces, eV/Å."""
    energies, forces = [], []
    for atoms in chosen:
        copied = atoms.copy()
        copied.calc = calculator
        energies.append(copied.get_potential_energy() - atoms.get_potential_energy())
        forces.append(copied.get_forces() - atoms.get_forces())
    return np.array(energies), float(np.sqrt(np.mean(np.concatenate(forces) ** 2)))


off_middle, forces_middle = errors(middle)
off_others, forces_others = errors(others)


# %% Two minima, and the path between them
def relaxed(atoms: Atoms) -> Atoms:
    """The nearest minimum."""
    atoms = atoms.copy()
    atoms.calc = calculator
    FIRE(atoms, logfile=None).run(fmax=fmax / 3, steps=num_steps)
    return atoms


start = relaxed(near[-1])
end, moving = start.copy(), proton(start)
nearer, farther = oxygens(start)[np.argsort(start.get_distances(moving, oxygens(start)))]
bond = start.positions[moving] - start.positions[nearer]
towards = start.positions[nearer] - start.positions[farther]
axis = towards / np.linalg.norm(towards)
end.positions[moving] = start.positions[farther] + bond - 2 * (bond @ axis) * axis
end = relaxed(end)
images = [start, *(start.copy() for _ in range(num_images - 2)), end]
for image in images:
    image.calc = calculator
band = NEB(images, climb=True, allow_shared_calculator=True, method="improvedtangent")
band.interpolate()
FIRE(band, logfile=None).run(fmax=fmax, steps=num_steps)
energies = np.array([image.get_potential_energy() for image in images])
energies = 1000 * (energies - energies[0])

# %% Figure and gates
figure = Figure((6, 4), layout="constrained")
axes = figure.subplots()
axes.plot([half_way(image) for image in images], energies, "o-")
axes.set(xlabel="d(O2-H) - d(O1-H) (Å)", ylabel="energy (meV)", title="acetylacetone")
options.output.mkdir(parents=True, exist_ok=True)
figure.savefig(options.output / "proton_transfer.png", dpi=150)
bias = 1000 * (off_middle.mean() - off_others.mean())
gates = [
    Gate("energies of the two ends differ by (meV)", energies[-1], 5.0),
    Gate("barrier (meV)", energies.max(), None, "classical, no published value"),
    Gate("energy half-way, off against other frames (meV)", bias, 43.0),
    Gate("forces half-way: RMSE (meV/Å)", 1000 * forces_middle, 100.0),
    Gate("forces elsewhere: RMSE (meV/Å)", 1000 * forces_others),
]
write_gates(options.output, gates)
