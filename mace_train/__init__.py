"""mace-train: train, evaluate and use MACE interatomic potentials.

The five public names are imported at first use: ``import mace_train`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mace_train.calculator import MACECalculator
    from mace_train.checkpoints.model_file import load_model
    from mace_train.cli.train import train
    from mace_train.graph import AtomicGraph
    from mace_train.model.mace import MACE

__version__ = "0.1.0"

_HOME_BY_NAME = {
    "MACE": "mace_train.model.mace",
    "MACECalculator": "mace_train.calculator",
    "AtomicGraph": "mace_train.graph",
    "load_model": "mace_train.checkpoints.model_file",
    "train": "mace_train.cli.train",
}
__all__ = ["MACE", "AtomicGraph", "MACECalculator", "__version__", "load_model", "train"]


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    if name not in _HOME_BY_NAME:
        raise AttributeError(f"module 'mace_train' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_BY_NAME[name]), name)
