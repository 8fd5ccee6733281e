"""Two models that differ, and sets of frames to compare them on."""

import torch
from small_crystals import make_frame, store_of

from mace_train.data.cache import open_store
from mace_train.data.labels import LabelKeys
from mace_train.finetuning.compared import BeforeAfter, ComparedErrors, ComparedSet
from mace_train.finetuning.parent_labels import write_parent_labels
from mace_train.training.frame_set import FrameSet


def with_e0s(model, *e0s_by_head):
    """The model with other E0s, eV, in place."""
    energies = model.atomic_energies_fn.atomic_energies
    energies.copy_(torch.tensor(e0s_by_head, dtype=energies.dtype))
    return model


def user_set(tmp_path, *, heads=("Default",), **options):
    """Three labelled crystals and a cluster."""
    frames = [make_frame(seed, molecule=seed == 3) for seed in range(4)]
    store = store_of(tmp_path, frames, name="user.xyz")
    return ComparedSet("valid", FrameSet.of_all(store), heads, **options)


def labelled_set(tmp_path, labeller, *, heads=("Default",), reference="parent"):
    """Frames labelled by a model: to it, errors are zero."""
    path = tmp_path / "guard.extxyz"
    structures = [make_frame(seed, symbols=("O", "Li", "Li")) for seed in range(10, 14)]
    write_parent_labels(path, structures, labeller)
    store = open_store(
        path, keys=LabelKeys(), r_max=labeller.r_max, cache_dir=tmp_path / "cache"
    )
    frames = FrameSet.of_all(store)
    return ComparedSet("guard", frames, heads, "4 probe frames", reference)


def errors(energy, forces, stress=None, *, frames=4):
    """Eight numbers, the RMSE being twice the MAE."""
    return {
        "energy_per_atom_mae": energy,
        "energy_per_atom_rmse": None if energy is None else 2 * energy,
        "forces_mae": forces,
        "forces_rmse": None if forces is None else 2 * forces,
        "stress_mae": stress,
        "stress_rmse": None if stress is None else 2 * stress,
        "num_frames": frames,
        "num_atoms": 4 * frames,
    }


def row(name="valid", before=None, after=None, *, head="Default", origin="", came=None):
    before = errors(0.030, 0.210, 0.004) if before is None else before
    after = errors(0.003, 0.034, 0.002) if after is None else after
    return ComparedErrors(name, head, origin, before, after, came, 0.4)


def comparison(*rows, notes=()):
    return BeforeAfter(rows, notes)
