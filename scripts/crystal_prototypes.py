"""Crystal prototypes and the charge-balanced elements that may sit on them.

The crystals of the bundled sample before anything moves: AFLOW's prototypes as pymatgen
ships them, with twelve elements in their common oxidation states.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from ase import Atoms
from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

# Radii in Å of ions in octahedra (Shannon); they only set where the volume scan begins.
RADII = {
    "Li": 0.76, "Na": 1.02, "Mg": 0.72, "Al": 0.54, "Si": 0.40, "Ti": 0.65, "Fe": 0.72,
    "Zn": 0.74, "O": 1.40, "F": 1.33, "S": 1.84, "Cl": 1.81,
}  # fmt: skip

# Charge-balanced choices for the roles A, B (cations) and X, Y (anions) of a formula.
CHEMISTRIES: dict[str, tuple[dict[str, str], ...]] = {
    "AX": ({"A": "Li Na", "X": "F Cl"}, {"A": "Mg Ti Fe Zn", "X": "O S"}),
    "AX2": ({"A": "Mg Ti Fe Zn", "X": "F Cl"}, {"A": "Si Ti", "X": "O S"}),
    "A2X": ({"A": "Li Na", "X": "O S"},),
    "A2X3": ({"A": "Al Ti Fe", "X": "O S"},),
    "AX3": ({"A": "Al Ti Fe", "X": "F Cl"},),
    "AX4": ({"A": "Si Ti", "X": "F Cl"},),
    "AXY": (
        {"A": "Mg Ti Fe Zn", "X": "F", "Y": "Cl"},
        {"A": "Al Ti Fe", "X": "O", "Y": "F Cl"},
    ),
    "ABX2": ({"A": "Li Na", "B": "Al Ti Fe", "X": "O S"},),
    "ABX3": (
        {"A": "Li Na", "B": "Mg Fe Zn", "X": "F Cl"},
        {"A": "Mg Fe Zn", "B": "Si Ti", "X": "O S"},
    ),
    "ABX4": ({"A": "Li Na", "B": "Al Fe", "X": "F Cl"},),
    "AB2X4": ({"A": "Mg Fe Zn", "B": "Al Ti", "X": "O S"},),
}


@dataclass(frozen=True)
class Prototype:
    """A crystal structure whose sites wait for elements.

    Attributes:
        name: What a mineralogist calls it.
        formula: Key of ``CHEMISTRIES``.
        aflow: Label in AFLOW's library, as pymatgen stores it.
        role_by_element: Role (A, B, X or Y) of each element of the library's own crystal.
    """

    name: str
    formula: str
    aflow: str
    role_by_element: dict[str, str]


PROTOTYPES = (
    Prototype("rocksalt", "AX", "AB_cF8_225_a_b", {"Na": "A", "Cl": "X"}),
    Prototype("zincblende", "AX", "AB_cF8_216_c_a", {"Zn": "A", "S": "X"}),
    Prototype("wurtzite", "AX", "AB_hP4_186_b_b", {"Zn": "A", "S": "X"}),
    Prototype("cesium chloride", "AX", "AB_cP2_221_b_a", {"Cs": "A", "Cl": "X"}),
    Prototype("nickel arsenide", "AX", "AB_hP4_194_c_a", {"Ni": "A", "As": "X"}),
    Prototype("lead oxide", "AX", "AB_tP4_129_a_c", {"Pb": "A", "O": "X"}),
    Prototype("cooperite", "AX", "AB_tP4_131_c_e", {"Pt": "A", "S": "X"}),
    Prototype("rutile", "AX2", "A2B_tP6_136_f_a", {"Ti": "A", "O": "X"}),
    Prototype("anatase", "AX2", "A2B_tI12_141_e_a", {"Ti": "A", "O": "X"}),
    Prototype("fluorite", "AX2", "AB2_cF12_225_a_c", {"Ca": "A", "F": "X"}),
    Prototype("cadmium iodide", "AX2", "AB2_hP3_164_a_d", {"Cd": "A", "I": "X"}),
    Prototype("cristobalite", "AX2", "A2B_cF24_227_c_a", {"Si": "A", "O": "X"}),
    Prototype("hydrophilite", "AX2", "AB2_oP6_58_a_g", {"Ca": "A", "Cl": "X"}),
    Prototype("silicon sulfide", "AX2", "A2B_oI12_72_j_a", {"Si": "A", "S": "X"}),
    Prototype("quartz", "AX2", "A2B_hP9_152_c_a", {"Si": "A", "O": "X"}),
    Prototype("antifluorite", "A2X", "AB2_cF12_225_a_c", {"F": "A", "Ca": "X"}),
    Prototype("cuprite", "A2X", "A2B_cP6_224_b_a", {"Cu": "A", "O": "X"}),
    Prototype("anti cadmium iodide", "A2X", "AB2_hP3_164_a_d", {"I": "A", "Cd": "X"}),
    Prototype("corundum", "A2X3", "A2B3_hR10_167_c_e", {"Al": "A", "O": "X"}),
    Prototype("lanthana", "A2X3", "A3B2_hP5_164_ad_d", {"Ni": "A", "Al": "X"}),
    Prototype(
        "bismuth telluride",
        "A2X3",
        "A2B3_hR5_166_c_ac",
        {"Bi": "A", "Te": "X"},  # codespell:ignore te
    ),
    Prototype("rhenium trioxide", "AX3", "A3B_cP4_221_d_a", {"Re": "A", "O": "X"}),
    Prototype("aluminum fluoride", "AX3", "AB3_hR8_155_c_de", {"Al": "A", "F": "X"}),
    Prototype("bismuth iodide", "AX3", "AB3_hR8_148_c_f", {"Bi": "A", "I": "X"}),
    Prototype("silicon fluoride", "AX4", "A4B_cI10_217_c_a", {"Si": "A", "F": "X"}),
    Prototype("matlockite", "AXY", "ABC_tP6_129_c_a_c", {"Pb": "A", "F": "X", "Cl": "Y"}),
    Prototype(
        "caswellsilverite", "ABX2", "ABC2_hR4_166_a_b_c", {"Na": "A", "Cr": "B", "S": "X"}
    ),
    Prototype(
        "chalcopyrite", "ABX2", "ABC2_tI16_122_a_b_d", {"Cu": "A", "Fe": "B", "S": "X"}
    ),
    Prototype("perovskite", "ABX3", "AB3C_cP5_221_a_c_b", {"Ca": "A", "Ti": "B", "O": "X"}),
    Prototype("ilmenite", "ABX3", "AB3C_hR10_148_c_f_c", {"Fe": "A", "Ti": "B", "O": "X"}),
    Prototype(
        "boron phosphate", "ABX4", "AB4C_tI12_82_c_g_a", {"B": "A", "P": "B", "O": "X"}
    ),
    Prototype(
        "thiogallate", "AB2X4", "A2BC4_tI14_82_bc_a_g", {"Cd": "A", "Al": "B", "S": "X"}
    ),
    Prototype("spinel", "AB2X4", "A2BC4_cF56_227_d_a_e", {"Mg": "A", "Al": "B", "O": "X"}),
)


def all_candidates() -> list[tuple[Prototype, dict[str, str]]]:
    """All prototypes with all their charge-balanced choices of elements."""
    found = []
    for prototype in PROTOTYPES:
        for choice in CHEMISTRIES[prototype.formula]:
            for elements in product(*(names.split() for names in choice.values())):
                element_by_role = dict(zip(choice, elements))
                if len(set(elements)) == len(elements):
                    found.append((prototype, element_by_role))
    return found


def prototype_crystal(prototype: Prototype, element_by_role: dict[str, str]) -> Atoms:
    """The prototype's cell with these elements, its nearest ions just touching."""
    structure = _library_crystal(prototype).get_primitive_structure()
    structure.replace_species(
        {old: element_by_role[role] for old, role in prototype.role_by_element.items()}
    )
    atoms = AseAtomsAdaptor.get_atoms(structure)
    return scaled(Atoms(atoms), 1.0 / _closeness(atoms))


def _library_crystal(prototype: Prototype) -> Structure:
    """AFLOW's own crystal of this prototype; one label may stand for several."""
    for entry in AFLOW_PROTOTYPE_LIBRARY:
        structure = entry["snl"].structure
        elements = {str(element) for element in structure.composition}
        if entry["tags"]["aflow"] == prototype.aflow and elements == set(
            prototype.role_by_element
        ):
            return structure
    raise ValueError(f"pymatgen has no {prototype.aflow} for {prototype.name}")


def _closeness(atoms: Atoms) -> float:
    """Shortest distance between unlike ions over the sum of their radii."""
    doubled = atoms.repeat(2)
    distances = doubled.get_all_distances(mic=True)
    radii = np.array([RADII[symbol] for symbol in doubled.symbols])
    unlike = doubled.numbers[:, None] != doubled.numbers[None, :]
    return float((distances / (radii[:, None] + radii[None, :]))[unlike].min())


def scaled(atoms: Atoms, factor: float) -> Atoms:
    """The crystal with all lengths multiplied by ``factor``."""
    copy = atoms.copy()
    copy.set_cell(atoms.cell * factor, scale_atoms=True)
    return copy
