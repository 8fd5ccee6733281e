"""Phonons and heat capacity of a crystal with phonopy.

    python examples/phonons.py --model examples/models/silicon/model.safetensors
    python examples/phonons.py --crystal NaCl --model examples/models/nacl/model.safetensors

Silicon's model learned PBE (mlearn), and its heat capacity is held to the measured one;
rock salt's learned CHGNet 0.3.0, not DFT, and is held to that. Neither can show lifetimes,
nor the splitting of longitudinal and transverse optical modes of NaCl at Γ, which a
long-ranged field makes. Needs `pip install 'mace-train[examples]'`.
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
from reference_crystals import CRYSTALS, beside_teacher, relaxed, teacher_of

from mace_train import MACECalculator

try:
    from phonopy import Phonopy
    from phonopy.phonon.band_structure import get_band_qpoints_and_path_connections
    from phonopy.structure.atoms import PhonopyAtoms
except ImportError as error:
    sys.exit(f"error: {error}: pip install 'mace-train[examples]'")
parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--crystal", choices=CRYSTALS, default="Si")
parser.add_argument("--model", type=Path, required=True)
parser.add_argument("--output", type=Path, default=Path("examples/results/phonons"))
parser.add_argument("--quick", action="store_true", help="coarse, and without a teacher")
options = parser.parse_args()
warnings.filterwarnings("ignore", module="(chgnet|phonopy|pymatgen)")
known = CRYSTALS[options.crystal]
PATH = [
    [[0, 0, 0], [1 / 2, 0, 1 / 2], [5 / 8, 1 / 4, 5 / 8]],
    [[3 / 8, 3 / 8, 3 / 4], [0, 0, 0], [1 / 2, 1 / 2, 1 / 2]],
]


# %% Force constants from displacements of one atom in a supercell of 64
def phonons(atoms: Atoms) -> Phonopy:
    """Of a cubic cell with a calculator."""
    cell = PhonopyAtoms(
        numbers=atoms.numbers, cell=atoms.cell[:], positions=atoms.positions
    )
    phonopy = Phonopy(cell, supercell_matrix=np.diag([2, 2, 2]), primitive_matrix="F")
    phonopy.generate_displacements(distance=known.displacement)
    supercell, forces = atoms * (2, 2, 2), []
    for moved in phonopy.supercells_with_displacements:
        supercell.numbers, supercell.positions = moved.numbers, moved.positions
        forces.append(atoms.calc.get_forces(supercell))
    phonopy.forces = forces
    phonopy.produce_force_constants(show_drift=False)
    return phonopy


def measured(calculator: Calculator) -> tuple[dict[str, float], Phonopy]:
    """a (Å), largest acoustic mode at Γ (meV), imaginary and optical modes (THz), heat."""
    atoms = relaxed(options.crystal, calculator)
    phonopy = phonons(atoms)
    gamma = phonopy.run_qpoints([[0, 0, 0]]).frequencies[0]
    phonopy.symmetrize_force_constants()  # after the acoustic sum was looked at
    phonopy.run_mesh([6] * 3 if options.quick else [24] * 3)
    phonopy.run_total_dos()
    phonopy.run_thermal_properties(temperatures=[298.15], cutoff_frequency=0.01)
    return {
        "a": atoms.cell.lengths()[0],
        "acoustic": np.sort(np.abs(gamma))[2] * 4.135668,  # THz
        "imaginary": np.maximum(0, -phonopy.mesh.frequencies.min()),
        "optical": gamma[3],
        "heat": phonopy.thermal_properties.heat_capacity[0] / known.per_cell,
    }, phonopy


# %% The model, and its teacher if there is one
model, phonopy = measured(MACECalculator(options.model, dtype="float64"))
crystals = {"own model": phonopy}
reference, told = known.reference, known.published
if not reference and not options.quick:
    reference, crystals["CHGNet"] = measured(teacher_of(options.crystal))
    told = beside_teacher(options.crystal, reference)
gates = [
    Gate("acoustic modes at Γ (meV)", model["acoustic"], 0.1),
    Gate("imaginary modes (THz)", model["imaginary"], 0.01),
    Gate("optical mode at Γ (THz)", model["optical"], None, told.get("optical", "")),
    Gate("heat capacity at 298 K (J/mol/K)", model["heat"], None, told.get("heat", "")),
    Gate("lattice constant (Å)", model["a"], None, told.get("a", "")),
]
if reference:
    for key, name, limit in ("a", "lattice constant", 1), ("heat", "heat capacity", 3):
        off = 100 * (model[key] / reference[key] - 1)
        gates.append(Gate(f"{name}, off by (%)", off, limit))

# %% Band structure and density of states
figure = Figure((8, 4), layout="constrained")
left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
qpoints, connections = get_band_qpoints_and_path_connections(PATH, npoints=41)
for color, (name, phonopy) in zip(("C0", "0.6"), crystals.items()):
    bands = phonopy.run_band_structure(qpoints, path_connections=connections)
    for x, frequencies in zip(bands.distances, bands.frequencies):
        left.plot(x, frequencies, color=color, linewidth=1)
    dos = phonopy.total_dos
    right.plot(dos.dos, dos.frequency_points, color=color, label=name)
left.set_xticks([0, *(x[-1] for x in bands.distances)], ["Γ", "X", "U|K", "Γ", "L"])
left.set(ylabel="frequency (THz)", title=options.crystal, xmargin=0)
right.set_xlabel("states per THz")
right.legend()
options.output.mkdir(parents=True, exist_ok=True)
figure.savefig(options.output / "phonons.png", dpi=150)
write_gates(options.output, gates)
