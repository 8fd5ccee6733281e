"""Where a model comes from: versions, git commit, data checksums, statistics and config.

Floor 6. The record goes into every checkpoint and model file; it holds plain values only.
"""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mace_train import __version__
from mace_train.data.mixed_store import MixedStore, count_by_set
from mace_train.training.head_statistics import mean_neighbors

if TYPE_CHECKING:
    from mace_train.data.statistics import Statistics
    from mace_train.training.datamodule import MACEDataModule
    from mace_train.training.training_data import TrainingData

UNITS = {
    "energy": "eV",
    "length": "angstrom",
    "forces": "eV/angstrom",
    "stress": "eV/angstrom^3",
}
"""Units of everything that a model file predicts or keeps."""

_PACKAGES = ("torch", "e3nn", "lightning", "hydra-core", "numpy", "ase", "h5py", "vesin")


def provenance(config: dict[str, Any], datamodule: MACEDataModule) -> dict[str, Any]:
    """All that tells how a model came about.

    Args:
        config: The run's config with interpolations resolved.
        datamodule: Set up; gives elements, statistics and the checksums of the user's
            files.
    """
    return {
        "units": UNITS,
        "elements": list(datamodule.data.elements.symbols),
        "statistics": _statistics(datamodule.data.statistics_by_head),
        "data_checksums": dict(datamodule.data.train_store.checksums),
        **_sets(datamodule.data),
        "config": config,
        "versions": versions(),
        "git_commit": git_commit(Path(__file__)),
    }


def _statistics(by_head: dict[str, Statistics]) -> dict[str, Any]:
    """Statistics of the only head, or those of several under their names."""
    records = {head: statistics_record(one) for head, one in by_head.items()}
    if len(records) == 1:
        return next(iter(records.values()))
    return {"avg_num_neighbors": mean_neighbors(by_head), "heads": records}


def _sets(data: TrainingData) -> dict[str, Any]:
    """What each set of ``data.train`` is to the model; nothing where there is one set."""
    store = data.train_store
    if not isinstance(store, MixedStore):
        return {}
    num_trained = count_by_set(store, data.sets["train"].indices)
    records = [
        {
            "name": name,
            "head": store.heads[role.head],
            "energy_weight": role.energy_weight,
            "forces_weight": role.forces_weight,
            "stress_weight": role.stress_weight,
            "num_frames": len(part),
            "num_train": trained,
            "data_checksums": dict(part.checksums),
        }
        for name, role, part, trained in zip(
            store.names, store.roles, store.parts, num_trained
        )
    ]
    return {"data_sets": records, "mixing": data.order.mixing}


def statistics_record(statistics: Statistics) -> dict[str, Any]:
    """Statistics of the training frames as plain values."""
    return {
        "avg_num_neighbors": statistics.avg_num_neighbors,
        "scale": statistics.scale,
        "shift": statistics.shift,
        "atomic_energies": [float(energy) for energy in statistics.atomic_energies],
        "determined": [bool(known) for known in statistics.determined],
        "e0_source": statistics.e0_source,
        "num_frames": statistics.num_frames,
        "num_atoms": statistics.num_atoms,
    }


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what its numbers depend on."""
    found = {"python": platform.python_version(), "mace-train": __version__}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def git_commit(source: Path) -> str | None:
    """Commit of the checkout that a source file belongs to, ``-dirty`` if it was changed.

    Args:
        source: A file of the program; one that lies in a checkout but is not tracked there,
            as an installed package inside a user's repository, has no commit.
    """
    if _git(source.parent, "ls-files", "--error-unmatch", source.name) is None:
        return None
    commit = _git(source.parent, "rev-parse", "HEAD")
    if commit is None:
        return None
    return (
        f"{commit}-dirty"
        if _git(source.parent, "status", "--porcelain", "-uno")
        else commit
    )


def _git(folder: Path, *words: str) -> str | None:
    """What git says, or None if it fails or is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
