"""Pourbaix diagrams of copper and titanium, with pymatgen's corrections of MP2020.

    python examples/pourbaix.py --model examples/models/oxides/model.safetensors

The model learned uncorrected energies, as MPtrj's are, so MaterialsProject2020Compatibility
is put on its entries. Labels are CHGNet 0.3.0's, not DFT, less those corrections; diagrams
are held against CHGNet's. Ions are measured (ASE's: doi:10.1016/0098-3004(92)90029-Q and
Pourbaix's atlas), shifted with a reference solid as in doi:10.1103/PhysRevB.85.235438. No
hydroxides, no vibrations. Needs `pip install 'mace-train[examples]'`.
"""

# %% What to run
import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator
from ase.phasediagram import solvated
from gates import Gate, write_gates
from matplotlib.figure import Figure
from structures import oxides
from teacher import teacher

from mace_train import MACECalculator

try:
    from pymatgen.analysis.pourbaix_diagram import IonEntry, PourbaixDiagram, PourbaixEntry
    from pymatgen.core.ion import Ion
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility
    from pymatgen.entries.computed_entries import ComputedEntry, ComputedStructureEntry
    from pymatgen.io.ase import AseAtomsAdaptor
except ImportError as error:
    sys.exit(f"error: {error}: pip install 'mace-train[examples]'")
parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--model", type=Path, required=True)
parser.add_argument("--output", type=Path, default=Path("examples/results/pourbaix"))
parser.add_argument("--quick", action="store_true", help="a few steps, without a teacher")
options = parser.parse_args()
if not options.model.is_file():
    sys.exit(f"error: {options.model} not found; make example-models makes it")
warnings.filterwarnings("ignore", module="(chgnet|pymatgen)")
REFERENCES = {"Cu": "CuO", "Ti": "TiO2, rutile"}  # the ions are shifted with them
PH, VOLTS = np.meshgrid(np.linspace(0, 14, 281), np.linspace(-2.5, 2, 451))


# %% Energies of the relaxed crystals
def entries(calculator: Calculator, is_corrected: bool) -> dict[str, ComputedEntry]:
    """Entries of pymatgen; corrected here unless the calculator's energies are."""
    found = []
    for name, atoms in oxides.crystals().items():
        atoms = oxides.relaxed(atoms, calculator, steps=3 if options.quick else 150)
        energy, kind = atoms.get_potential_energy(), {"run_type": "GGA"}  # no Hubbard U
        structure = AseAtomsAdaptor.get_structure(atoms)
        entry = ComputedStructureEntry(structure, energy, parameters=kind, entry_id=name)
        found.append(entry)
    if not is_corrected:
        scheme = MaterialsProject2020Compatibility(check_potcar=False)
        found = scheme.process_entries(found, on_error="raise")
    return {entry.entry_id: entry for entry in found}


# %% Which phase is stable where
def stable(found: dict[str, ComputedEntry], metal: str) -> np.ndarray:
    """Names of the phases, of solids and of ions at 1e-6 mol/L, rows for potentials."""
    energies = {name: oxides.formation(found, name, oxides.ENTROPY) for name in found}
    phases = [
        PourbaixEntry(ComputedEntry(entry.reduced_formula, energies[name], entry_id=name))
        for name, entry in found.items()
        if metal in entry.composition
    ]
    shift = energies[REFERENCES[metal]] - oxides.FREE_ENERGIES[REFERENCES[metal]]
    for name, energy in solvated(metal):
        formula = name.removesuffix("(aq)")
        ion = Ion.from_formula(formula if formula[-1] in "+-" else name)
        if number := ion.composition[metal]:  # not water's own
            phases.append(PourbaixEntry(IonEntry(ion, energy + number * shift), name))
    phases = PourbaixDiagram(phases, conc_dict={metal: 1e-6}).stable_entries
    heights = [phase.normalized_energy_at_conditions(PH, VOLTS) for phase in phases]
    return np.array([phase.entry_id for phase in phases])[np.argmin(heights, axis=0)]


own = entries(MACECalculator(options.model, dtype="float64"), is_corrected=False)
theirs = {} if options.quick else entries(teacher(), is_corrected=True)
off = [1000 * (own[name].energy_per_atom - theirs[name].energy_per_atom) for name in theirs]
gates = [Gate("largest energy error (meV/atom)", max(off, key=abs), 20)] if off else []

# %% Figure and gates
figure, maps = Figure((9, 4.5), layout="constrained"), {}
for axes, metal in zip(figure.subplots(1, 2), REFERENCES):
    names = maps[metal] = stable(own, metal)
    for color, name in enumerate(np.unique(names)):
        where = names == name
        axes.contourf(PH, VOLTS, where, [0.5, 1.5], colors=[f"C{color}"], alpha=0.3)
        middle = PH[where].mean(), VOLTS[where].mean()
        axes.text(*middle, name.removesuffix("(aq)"), ha="center", va="center", fontsize=8)
    axes.plot(PH[0], np.subtract.outer([0, 1.229], 0.0591 * PH[0]).T, "--", color="0.6")
    axes.set(xlabel="pH", ylabel="potential (V, SHE)", title=f"{metal}, 1e-6 mol/L")
    if theirs:
        others = stable(theirs, metal)
        codes = np.unique(others, return_inverse=True)[1].reshape(others.shape)
        border = np.hypot(*np.gradient(codes)) > 0
        axes.plot(PH[border][::4], VOLTS[border][::4], "k.", markersize=1, label="CHGNet")
        axes.legend(loc="upper right")
        area, apart = 100 * np.mean(others != names), set(names.flat) ^ set(others.flat)
        gates.append(Gate(f"{metal}: area of the diagram that differs (%)", area, 5))
        gates.append(Gate(f"{metal}: phases in one diagram only", len(apart), 0))
for name, measured in oxides.ENTHALPIES.items():
    told = f"{measured:.5g}, measured (CRC Handbook)"
    if theirs:
        told = f"{oxides.formation(theirs, name) / oxides.KJ_PER_MOL:.5g}, CHGNet; {told}"
    value = oxides.formation(own, name) / oxides.KJ_PER_MOL
    gates.append(Gate(f"{name}: formation energy (kJ/mol)", value, None, told))
options.output.mkdir(parents=True, exist_ok=True)
figure.savefig(options.output / "pourbaix.png", dpi=150)
write_gates(options.output, gates)
