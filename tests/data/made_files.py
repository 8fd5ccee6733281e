"""The same frames in every form that is read: what users have, made from extended XYZ."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import ase.db
import ase.io
import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

VASP_KBAR_PER_EV_A3 = -1602.1766208
"""VASP prints the pressure in kBar: another unit, and the other sign."""


def mptrj_frame(atoms: Atoms) -> dict[str, Any]:
    """A frame as the JSON of MPtrj has it, with pymatgen's structure and VASP's stress."""
    results = atoms.calc.results
    stress = voigt_6_to_full_3x3_stress(results["stress"])
    fractions = np.linalg.solve(atoms.cell.array.T, atoms.positions.T).T
    sites = [
        {
            "species": [{"element": symbol, "occu": 1}],
            "abc": abc.tolist(),
            "xyz": xyz.tolist(),
            "label": symbol,
            "properties": {},
        }
        for symbol, abc, xyz in zip(
            atoms.get_chemical_symbols(), fractions, atoms.positions
        )
    ]
    return {
        "structure": {
            "@module": "pymatgen.core.structure",
            "@class": "Structure",
            "charge": None,
            "lattice": {"matrix": atoms.cell.array.tolist()},
            "sites": sites,
        },
        "uncorrected_total_energy": results["energy"],
        "corrected_total_energy": results["energy"] - 1.5,
        "energy_per_atom": (results["energy"] - 1.5) / len(atoms),
        "ef_per_atom": -0.1,
        "e_per_atom_relaxed": -2.0,
        "ef_per_atom_relaxed": -0.2,
        "force": results["forces"].tolist(),
        "stress": (stress * VASP_KBAR_PER_EV_A3).tolist(),
        "magmom": None,
        "bandgap": None,
        "mp_id": atoms.info["mp_id"],
    }


def mptrj_json(frames: list[Atoms]) -> dict[str, Any]:
    """Materials with their frames, in the order of the first frame of each."""
    materials: dict[str, Any] = {}
    for place, atoms in enumerate(frames):
        info = atoms.info
        name = f"{info['task_id']}-{info['calc_id']}-{info['ionic_step']}"
        material = materials.setdefault(str(info["mp_id"]), {})
        assert name not in material, f"frame {place} is there twice"
        material[name] = mptrj_frame(atoms)
    return materials


def by_material(frames: list[Atoms]) -> list[Atoms]:
    """Frames of a material in turn, as they are in MPtrj."""
    materials: dict[str, list[Atoms]] = {}
    for atoms in frames:
        materials.setdefault(str(atoms.info["mp_id"]), []).append(atoms)
    return [atoms for material in materials.values() for atoms in material]


def member_texts(frames: list[Atoms]) -> dict[str, str]:
    """Extended XYZ by file name, one file a material."""
    texts: dict[str, str] = {}
    for atoms in frames:
        buffer = io.StringIO()
        ase.io.write(buffer, atoms, format="extxyz")
        name = f"mptrj-gga-ggapu/{atoms.info['mp_id']}.extxyz"
        texts[name] = texts.get(name, "") + buffer.getvalue()
    return texts


def write_zip(path: Path, texts: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", "not frames")
        for name, text in texts.items():
            archive.writestr(name, text)
    return path


def write_tar(path: Path, texts: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, text in texts.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


def write_json(path: Path, materials: dict[str, Any]) -> Path:
    text = json.dumps(materials)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def write_database(path: Path, frames: list[Atoms]) -> Path:
    """An ASE database with the group key among the key-value pairs."""
    with ase.db.connect(path) as database:
        for atoms in frames:
            database.write(atoms, mp_id=str(atoms.info["mp_id"]))
    return path
