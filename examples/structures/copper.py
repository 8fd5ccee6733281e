"""CO, O and CO + O on Cu(111): ends and band of the reaction; the teacher's frames.

For co_oxidation.py. The path leads from CO on top and O in a hollow beside it to a bent
CO2 on the surface.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.mep import NEB
from ase.optimize import FIRE
from teacher import Lesson, jostled, own_calculator

from structures.surfaces import clean, covered, in_box, relaxed

PLACES = (("CO", "fcc"), ("CO", "top"), ("O", "fcc"))
"""What adsorbs where."""
MOLECULES = ("CO", "CO2", "O2")
NUM_SLAB = 12


def reaction_ends() -> tuple[Atoms, Atoms]:
    """CO on top and O in a hollow, and the bent CO2 that they form; not relaxed."""
    slab = clean("Cu")
    first, second = slab.cell.array[:2] / 2
    corner = slab.positions[slab.get_tags() == 1][0]
    hollow, top = corner + (first + second) / 3, corner + first + second
    along, up = (top - hollow) / np.linalg.norm(top - hollow), np.array([0.0, 0.0, 1.0])
    apart = [hollow + 1.2 * up, top + 1.85 * up, top + 3.0 * up]
    places = ((-0.25, 2.3), (0.87, 1.8), (2.05, 2.2))  # Å, along and above
    together = [hollow + far * along + high * up for far, high in places]
    start, end = (slab + Atoms("OCO", positions) for positions in (apart, together))
    return start, end


def band(start: Atoms, end: Atoms, calculator: Calculator, num_images: int) -> NEB:
    """A band between relaxed ends, which are not asked again; interpolated."""
    images = [start, *(start.copy() for _ in range(num_images)), end]
    for image in images[1:-1]:
        image.calc = own_calculator(calculator)
    neb = NEB(images, method="improvedtangent", k=0.5)
    neb.interpolate("idpp")
    return neb


def on_the_path(calculator: Calculator) -> list[Lesson]:
    """The ends, the band as interpolated, on its way and near the minimum-energy path."""
    way: list[Atoms] = []
    start, end = (relaxed(atoms, calculator, way=way) for atoms in reaction_ends())
    neb = band(start, end, calculator, num_images=7)
    raw = [image.copy() for image in neb.images[1:-1]]
    optimizer = FIRE(neb, logfile=None)
    inner = neb.images[1:-1]
    optimizer.attach(lambda: way.extend(image.copy() for image in inner), interval=5)
    optimizer.run(fmax=0.2, steps=25)
    neb.climb = True  # optimizers take it up from here
    optimizer.run(fmax=0.1, steps=30)
    made = [Lesson(image, 1, rattle=0.0) for image in [*way, *neb.images]]
    for seed, image in enumerate([*neb.images, *raw]):
        made += jostled(image, NUM_SLAB, 20 if seed < len(neb.images) else 6, seed)
    return made


def lessons(calculator: Calculator, data_dir: Path) -> list[Lesson]:
    """Some 450 frames of 2 to 15 atoms."""
    made = [Lesson(relaxed(in_box(n), calculator), 12, rattle=0.04) for n in MOLECULES]
    slab = relaxed(clean("Cu"), calculator)
    made.append(Lesson(slab, 10, rattle=0.06))
    for place, (adsorbate, site) in enumerate(PLACES):
        way: list[Atoms] = []
        atoms = relaxed(covered(slab, adsorbate, site), calculator, way=way)
        made += [Lesson(each, 1, rattle=0.0) for each in way]
        made += [Lesson(atoms, 8, rattle=0.06), *jostled(atoms, NUM_SLAB, 8, 100 + place)]
    return [*made, *on_the_path(calculator)]
