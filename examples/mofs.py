"""Energies of a screen of metal-organic frameworks: a folder of CIFs in one batched run.

    python examples/mofs.py --data-dir ../shared/data \\
        --model examples/models/mofs/model.safetensors

Writes distorted copies of six frameworks as CIFs and has `mace-evaluate` predict them all,
by the model and by its teacher, CHGNet 0.3.0 (not DFT). Stopped, the same command goes on.
The model learned six other distorted copies of each but CALF20 (Zn-MOF-74 as its primitive
cell): its error in the five is that of frameworks it saw, in CALF20 that of one it did not.
No published value: QMOF's are on another scale. `pip install 'mace-train[examples]'`.
"""

# %% What to run
import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from gates import Gate, write_gates
from matplotlib.figure import Figure
from structures.mofs import DISTORTION, FRAMEWORKS, LEFT_OUT, framework
from teacher import Lesson, distorted

from mace_train import MACECalculator

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--model", type=Path, required=True)
parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
parser.add_argument("--output", type=Path, default=Path("examples/results/mofs"))
parser.add_argument("--copies", type=int, default=8, help="of each framework")
parser.add_argument("--quick", action="store_true", help="two of CALF20, and no teacher")
options = parser.parse_args()
names, num_copies = (("CALF20",), 2) if options.quick else (FRAMEWORKS, options.copies)
TEACHER = ["calculator._target_=chgnet.model.dynamics.CHGNetCalculator"]

# %% The screen; the lessons were drawn with other random numbers
folder = options.output / "structures"
shutil.rmtree(folder, ignore_errors=True)  # that of an earlier run
folder.mkdir(parents=True)
rng = np.random.default_rng(2026)
for name in names:
    try:
        atoms = framework(options.data_dir, name)
    except OSError as error:
        sys.exit(f"error: {error}: --data-dir?")
    for copy in range(num_copies):
        drawn = distorted(Lesson(atoms, 1, **DISTORTION), rng)
        ase.io.write(folder / f"{name}_{copy:02d}.cif", drawn)


# %% One command predicts all of them; an ASE calculator may stand in for the model
def evaluated(potential: list[str], output: Path) -> tuple[list[Atoms], float]:
    """Structures with `predicted_energy` in their order, and how many a second."""
    words = [sys.executable, "-m", "mace_train.cli.evaluate", *potential]
    words += [f"data.test={folder}/*.cif", f"output={output}", "figures=false"]
    if subprocess.run(words, check=False).returncode != 0:
        sys.exit("error: mace-evaluate: see above; the same command goes on")
    log = (output / "log.txt").read_text(encoding="utf-8")
    rate = float(re.findall(r"([\d.e+]+) frames/s", log)[-1])
    return ase.io.read(output / "predictions.extxyz", ":"), rate


def per_atom(frames: list[Atoms]) -> np.ndarray:
    """meV/atom; NaN where there is no energy."""
    return np.array(
        [1000 * atoms.info.get("predicted_energy", np.nan) / len(atoms) for atoms in frames]
    )


frames, rate = evaluated([f"checkpoint={options.model}"], options.output / "model")
calculator = MACECalculator(options.model)
num_edges = sum(len(neighbor_list("i", atoms, calculator.r_max)) for atoms in frames)
alone = 1000 * calculator.get_potential_energy(frames[0].copy()) / len(frames[0])
own = per_atom(frames)
num_missing = len(names) * num_copies - np.isfinite(own).sum()
gates = [
    Gate("structures", len(frames)),
    Gate("structures without an energy", num_missing, 0),
    Gate("energy, batch against one alone (meV/atom)", own[0] - alone, 0.01),
    Gate("edges per second", num_edges / len(frames) * rate),
]

# %% Against the teacher, apart for the framework that was left out
sources = np.array([atoms.info["source"].rsplit("_", 1)[0] for atoms in frames])
if not options.quick:
    chgnet = per_atom(evaluated(TEACHER, options.output / "chgnet")[0])
    means = np.array([chgnet[sources == name].mean() for name in sources])
    seen, off = sources != LEFT_OUT, own - chgnet
    offset = off[~seen].mean()
    spread, apart = np.abs(chgnet - means), np.abs(off[~seen] - offset)
    gates += [
        Gate("energy, five frameworks: MAE (meV/atom)", np.abs(off[seen]).mean(), 10),
        Gate("five frameworks: mean distance from their means", spread[seen].mean()),
        Gate(f"energy, {LEFT_OUT}, left out: mean error (meV/atom)", offset),
        Gate(f"energy, {LEFT_OUT}, without that: MAE (meV/atom)", apart.mean()),
        Gate(f"{LEFT_OUT}: mean distance from its mean", spread[~seen].mean()),
    ]
    figure = Figure((5, 4.6), layout="constrained")
    axes = figure.subplots()
    for name in names:
        mine = sources == name
        x, y, style, label = (chgnet - means)[mine], (own - means)[mine], "o", name
        if name == LEFT_OUT:
            y, style, label = y - offset, "kx", f"{name}, less {offset:.0f} meV/atom"
        axes.plot(x, y, style, label=label, markersize=5)
    axes.axline((0, 0), slope=1, color="0.6", zorder=0)
    axes.set(xlabel="CHGNet (meV/atom)", ylabel="own model (meV/atom)")
    axes.set_title("energies, less CHGNet's mean of each framework", fontsize=10)
    axes.legend(fontsize=8)
    figure.savefig(options.output / "mofs.png", dpi=150)
write_gates(options.output, gates)
