"""Lattice energies of thirteen ice polymorphs, with and without dispersion (D3).

    python examples/ice.py --model examples/models/ice/model.safetensors

Cells and published energies are DMC-ICE13's (doi:10.1063/5.0102645); of Ih PBE -62.23,
PBE-D3(BJ) -70.36, diffusion Monte Carlo -59.45 kJ/mol of a molecule. The model learned
molecules that were moved in these cells, and not the cells themselves; its labels are
CHGNet 0.3.0's, not DFT. It cannot show absolute lattice energies, as CHGNet's molecule is
off, nor phases that are unlike these. Needs `pip install 'mace-train[examples]'`.
"""

# %% What to run
import argparse
import sys
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator
from ase.units import kJ, mol
from gates import Gate, write_gates
from matplotlib.figure import Figure
from structures.ice import REFERENCE, polymorphs, published, water
from teacher import teacher

from mace_train import MACECalculator

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--model", type=Path, required=True)
parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
parser.add_argument("--output", type=Path, default=Path("examples/results/ice"))
parser.add_argument("--quick", action="store_true", help="no teacher and no D3")
options = parser.parse_args()
cells = polymorphs(options.data_dir)
known = published(options.data_dir, cells)
ih = list(cells).index(REFERENCE)


# %% Lattice energy: a molecule of the crystal, less a molecule alone
def lattice_energies(calculator: Calculator) -> np.ndarray:
    """kJ/mol of a molecule; cells are as published, the molecule alone is relaxed."""
    # In a smaller box D3 acts between images of the molecule.
    alone = water(calculator, box=30.0, steps=3 if options.quick else 200)
    energies = []
    for atoms in cells.values():
        atoms.calc = calculator
        energies.append(3 * atoms.get_potential_energy() / len(atoms))
    return (np.array(energies) - alone.get_potential_energy()) * mol / kJ


plain, with_d3 = {}, {}
try:
    own = lattice_energies(MACECalculator(options.model, dtype="float64"))
    plain["own model"] = own
    if not options.quick:
        calculator = MACECalculator(options.model, dtype="float64", dispersion=True)
        with_d3["own model"] = lattice_energies(calculator)
        plain["CHGNet"] = lattice_energies(teacher())
        # D3 asks for positions alone: it is the same for both.
        with_d3["CHGNet"] = plain["CHGNet"] + with_d3["own model"] - own
except (ImportError, OSError, ValueError) as error:
    sys.exit(f"error: {error}")
plain["PBE"] = known["PBE"]
with_d3 |= {name: known[name] for name in ("PBE-D3(BJ)", "DMC")}


# %% Gates: energies relative to Ih have no molecule alone in them
def mae(energies: np.ndarray, others: np.ndarray) -> float:
    """Mean absolute difference of energies relative to Ih."""
    off = energies - others
    return float(np.abs(np.delete(off - off[ih], ih)).mean())


def measured(energies: np.ndarray) -> dict[str, float]:
    """What is told, and has no gate, kJ/mol."""
    off = energies - known["PBE"]
    return {
        "relative to Ih, against PBE: MAE": mae(energies, known["PBE"]),
        "absolute, less PBE: mean": off.mean(),
        "absolute, less PBE: std": off.std(),
        f"lattice energy of Ih (PBE {known['PBE'][ih]:.1f})": energies[ih],
    }


theirs = {} if options.quick else measured(plain["CHGNet"])
gates = [
    Gate(f"{key}, kJ/mol", value, None, f"{theirs[key]:.2f}, CHGNet" if theirs else "")
    for key, value in measured(own).items()
]
if not options.quick:
    pbe_d3, chgnet = known["PBE-D3(BJ)"], plain["CHGNet"]
    of_chgnet = mae(with_d3["CHGNet"], pbe_d3)
    off, limit = mae(with_d3["own model"], pbe_d3), round(of_chgnet + 0.5, 2)
    name, told = "+ D3, against PBE-D3(BJ): MAE, kJ/mol", f"{of_chgnet:.2f}, CHGNet + D3"
    gates[:0] = [
        Gate("relative to Ih, against CHGNet: MAE, kJ/mol", mae(own, chgnet), 0.5),
        Gate(f"relative to Ih {name}", off, limit, told),
    ]

# %% Figure, from the least dense phase to the densest
order = np.argsort([len(atoms) / atoms.get_volume() for atoms in cells.values()])
styles = {"own model": "C0o-", "CHGNet": "C1x--", "DMC": "C2s"}  # PBE: black
figure = Figure((9, 4), layout="constrained")
panels = figure.subplots(1, 2, sharey=True)
for axes, lines in zip(panels, (plain, with_d3)):
    for name, energies in lines.items():
        values, style = (energies - energies[ih])[order], styles.get(name, "kD")
        axes.plot(np.array(list(cells))[order], values, style, label=name)
    axes.set(xlabel="phase, the densest last", title="with D3(BJ)")
    axes.legend(loc="upper left")
panels[0].set(title="without dispersion", ylabel="energy relative to Ih (kJ/mol)")
options.output.mkdir(parents=True, exist_ok=True)
figure.savefig(options.output / "ice.png", dpi=150)
write_gates(options.output, gates)
