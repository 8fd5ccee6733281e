"""Elastic constants of a cubic crystal with matcalc.

    python examples/elastic_constants.py --model examples/models/silicon/model.safetensors

The cell is strained by up to 1 %, its atoms relax, and the stress is fitted. Silicon's
model learned PBE (mlearn) and is held to published DFT; that of rock salt (--crystal NaCl)
learned CHGNet 0.3.0, not DFT, and is held to that. Such small models learn second
derivatives from few strained frames: 10 % is asked of the bulk modulus; the single
constants, which err by more, are told and not judged. Needs `pip install
'mace-train[examples]'`.
"""

# %% What to run
import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator
from gates import Gate, write_gates
from matplotlib.figure import Figure
from reference_crystals import CRYSTALS, beside_teacher, relaxed, teacher_of

from mace_train import MACECalculator

try:
    from matcalc import ElasticityCalc
except ImportError as error:
    sys.exit(f"error: {error}: pip install 'mace-train[examples]'")

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--crystal", choices=CRYSTALS, default="Si")
parser.add_argument("--model", type=Path, required=True)
parser.add_argument(
    "--output", type=Path, default=Path("examples/results/elastic_constants")
)
parser.add_argument("--quick", action="store_true", help="two strains, without a teacher")
options = parser.parse_args()
warnings.filterwarnings("ignore", module="(chgnet|matcalc|pymatgen|ase)")
STRAINS = (-0.005, 0.005) if options.quick else (-0.01, -0.005, 0.005, 0.01)
KEYS = ("bulk", "c11", "c12", "c44")


# %% The stress of strained cells
def constants(calculator: Calculator) -> dict[str, float]:
    """Bulk modulus, C11, C12 and C44 in GPa."""
    elasticity = ElasticityCalc(
        calculator,
        norm_strains=STRAINS,
        shear_strains=STRAINS,
        fmax=2e-3,
        relax_structure=False,
        relax_deformed_structures=True,
        units_GPa=True,
        r2_min=-1,  # its mean counts the rounding in components that symmetry makes zero
    )
    found = elasticity.calc(relaxed(options.crystal, calculator))
    stiffness = np.asarray(found["elastic_tensor"].voigt)
    c11 = stiffness.diagonal()[:3].mean()
    c12 = stiffness[[0, 0, 1], [1, 2, 2]].mean()
    c44 = stiffness.diagonal()[3:].mean()
    return {"bulk": (c11 + 2 * c12) / 3, "c11": c11, "c12": c12, "c44": c44}


# %% The model, what it is compared with, and the figure
model = constants(MACECalculator(options.model, dtype="float64"))
reference, told = CRYSTALS[options.crystal].reference, CRYSTALS[options.crystal].published
if not reference and not options.quick:
    reference = constants(teacher_of(options.crystal))
    told = beside_teacher(options.crystal, reference)
gates = [Gate(f"{key} (GPa)", model[key], None, told.get(key, "")) for key in KEYS]
if reference:
    off = 100 * (model["bulk"] / reference["bulk"] - 1)
    gates.append(Gate("bulk modulus, off by (%)", off, 10.0))
axis = (figure := Figure((5, 3.5), layout="constrained")).subplots()
axis.bar(np.arange(4) - 0.2, [model[key] for key in KEYS], 0.4, label="own model")
if reference:
    axis.bar(np.arange(4) + 0.2, [reference[key] for key in KEYS], 0.4, label="reference")
axis.set_xticks(range(4), KEYS)
axis.set(ylabel="GPa", title=options.crystal)
axis.legend()
options.output.mkdir(parents=True, exist_ok=True)
figure.savefig(options.output / "elastic_constants.png", dpi=150)
write_gates(options.output, gates)
