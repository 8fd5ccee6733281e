"""Small models, and files like those of ``torch.save``, for the tests of this folder."""

import lzma
import zipfile
from pathlib import Path

import pytest
import torch
from tiny_models import ONE_HEAD

from mace_train.graph import AtomicGraph
from mace_train.model.mace import MACE

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture
def tiny_model() -> MACE:
    """A model of a few thousand numbers, float64, with reproducible weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return MACE(**ONE_HEAD).double().eval()


@pytest.fixture
def graphs(tiny_model) -> list[AtomicGraph]:
    """A crystal, a molecule and a lone atom."""
    from ase import Atoms
    from ase.build import bulk, molecule

    crystal = bulk("Si", "diamond", 5.43)
    crystal.rattle(0.1, seed=1)
    frames = [crystal, molecule("H2O"), Atoms("O", positions=[[0, 0, 0]])]
    return [
        AtomicGraph.from_atoms(frame, elements=tiny_model.elements, r_max=tiny_model.r_max)
        for frame in frames
    ]


@pytest.fixture(scope="session")
def official_file(tmp_path_factory):
    """Gives the path of an official mace-torch file of tests/reference by name."""
    folder = tmp_path_factory.mktemp("official")

    def unpack(name: str) -> Path:
        path = folder / f"{name}.model"
        if not path.exists():
            path.write_bytes(lzma.decompress((REFERENCE / f"{name}.model.xz").read_bytes()))
        return path

    return unpack


@pytest.fixture
def edited_file(official_file, tmp_path):
    """Gives a copy of the official small file with ``old`` replaced in its pickle."""

    def edit(old: bytes, new: bytes) -> Path:
        source = zipfile.ZipFile(official_file("mp0_small"))
        path = tmp_path / "edited.model"
        with source, zipfile.ZipFile(path, "w") as target:
            for name in source.namelist():
                data = source.read(name)
                if name.endswith("/data.pkl"):
                    assert old in data
                    data = data.replace(old, new)
                target.writestr(name, data)
        return path

    return edit
