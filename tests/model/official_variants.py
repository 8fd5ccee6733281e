"""The models and structures of variants.npz; see make_variants.py."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from ase import Atoms

from mace_train.graph import AtomicGraph
from mace_train.model import MACE

NUM_STRUCTURES = 3


@cache
def official() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).with_name("variants.npz")) as archive:
        return dict(archive)


def variants() -> list[str]:
    return sorted({name.split("/")[0] for name in official()} - {"structure"})


def load(variant: str) -> MACE:
    arrays = official()
    model = MACE(**json.loads(str(arrays[f"{variant}/arguments"]))).to(torch.float64)
    prefix = f"{variant}/parameter/"
    weights = {
        name[len(prefix) :]: arrays[name] for name in arrays if name.startswith(prefix)
    }
    assert set(weights) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        assert parameter.shape == weights[name].shape, name
        parameter.data = torch.from_numpy(weights[name].copy())
    return model.eval()


def structure(index: int) -> Atoms:
    parts = ("numbers", "positions", "cell", "pbc")
    numbers, positions, cell, pbc = (official()[f"structure/{index}/{p}"] for p in parts)
    return Atoms(numbers, positions, cell=cell, pbc=pbc)


def graph_of(model: MACE, index: int, dtype=torch.float64) -> AtomicGraph:
    # mace-torch evaluated the frames with its default head, the last of two.
    return AtomicGraph.from_atoms(
        structure(index),
        elements=model.elements,
        r_max=model.r_max,
        head=model.heads.index("Default"),
        dtype=dtype,
    )
