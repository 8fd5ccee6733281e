"""Files of a few small crystals and molecules, labelled by a Lennard-Jones potential."""

import numpy as np
import torch
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.io import write

from mace_train.data.cache import open_store
from mace_train.data.labels import LabelKeys
from mace_train.model.mace import MACE
from mace_train.training.datamodule import MACEDataModule

R_MAX = 4.0
FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def lennard_jones():
    return LennardJones(sigma=2.2, epsilon=0.4, rc=6.0, smooth=True)


def make_frame(seed, *, symbols=("Li", "O"), molecule=False, config_type=None, group=None):
    """A rattled fcc crystal of four atoms, or such a cluster, with all its labels."""
    random = np.random.default_rng(seed)
    length = random.uniform(3.5, 4.1)
    atoms = Atoms(
        [symbols[i % len(symbols)] for i in range(4)],
        positions=FCC * length + random.normal(scale=0.08, size=(4, 3)),
        cell=None if molecule else np.eye(3) * length,
        pbc=not molecule,
    )
    atoms.calc = lennard_jones()
    labelled = atoms.copy()
    labelled.info["energy"] = atoms.get_potential_energy()
    labelled.arrays["forces"] = atoms.get_forces()
    if not molecule:
        labelled.info["stress"] = atoms.get_stress(voigt=False).ravel()
    if config_type is not None:
        labelled.info["config_type"] = config_type
    if group is not None:
        labelled.info["mp_id"] = group
    return labelled


def isolated_atom(symbol, energy):
    atoms = Atoms([symbol], positions=[[0.0, 0.0, 0.0]])
    atoms.info |= {"energy": energy, "config_type": "IsolatedAtom"}
    atoms.arrays["forces"] = np.zeros((1, 3))
    return atoms


def without(atoms, *labels):
    for label in labels:
        (atoms.arrays if label == "forces" else atoms.info).pop(label)
    return atoms


def write_frames(path, frames):
    write(path, frames, format="extxyz", write_results=False)
    return str(path)


def store_of(tmp_path, frames, name="frames.xyz"):
    path = write_frames(tmp_path / name, frames)
    return open_store(path, keys=LabelKeys(), r_max=R_MAX, cache_dir=tmp_path / "cache")


def datamodule_of(tmp_path, frames, *, name="frames.xyz", **options):
    path = frames if isinstance(frames, str) else write_frames(tmp_path / name, frames)
    settings = {"r_max": R_MAX, "dtype": "float64", "cache_dir": str(tmp_path / "cache")}
    return MACEDataModule(train=path, **(settings | options))


def small_model(atomic_numbers=(3, 8), *, heads=("Default",), seed=0):
    """A MACE in float64 with random weights."""
    torch.manual_seed(seed)
    per_head = [[-1.0 - 0.1 * z for z in atomic_numbers] for _ in heads]
    model = MACE(
        hidden_irreps="4x0e + 4x1o",
        max_ell=2,
        correlation=2,
        num_interactions=2,
        r_max=R_MAX,
        num_radial_basis=4,
        cutoff_p=5,
        radial_mlp=[8],
        readout_hidden_irreps="4x0e",
        first_interaction="residual",
        interaction="residual",
        distance_transform="none",
        pair_repulsion=False,
        atomic_numbers=atomic_numbers,
        atomic_energies=per_head,
        avg_num_neighbors=12.0,
        scale=[0.5 + 0.25 * place for place in range(len(heads))],
        shift=[0.1] * len(heads),
        heads=heads,
    )
    return model.double()
