"""Small models of all kinds, and official files, for the tests of exports."""

import json
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch

from mace_train.exports.comparison import predict_model
from mace_train.exports.export_format import ExportFormat
from mace_train.model.mace import MACE

REFERENCE = Path(__file__).parents[1] / "reference"
SMALL = {
    "hidden_irreps": "4x0e + 4x1o",
    "max_ell": 2,
    "correlation": 2,
    "num_interactions": 2,
    "r_max": 4.0,
    "num_radial_basis": 4,
    "cutoff_p": 5,
    "radial_mlp": [8],
    "readout_hidden_irreps": "4x0e",
    "first_interaction": "residual",
    "interaction": "residual",
    "distance_transform": "none",
    "pair_repulsion": False,
    "atomic_numbers": [1, 8, 14],
    "avg_num_neighbors": 10.3,
}


@pytest.fixture
def small_model():
    """Gives a model of a few thousand numbers, float64, with reproducible weights."""

    def make(*, heads=("Default",), **changes) -> MACE:
        random = np.random.default_rng(1)
        elements = len(changes.get("atomic_numbers", SMALL["atomic_numbers"]))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            model = MACE(
                **SMALL | changes,
                atomic_energies=random.normal(-4, 2, (len(heads), elements)).tolist(),
                scale=random.uniform(0.5, 1.0, len(heads)).tolist(),
                shift=random.normal(0, 0.2, len(heads)).tolist(),
                heads=list(heads),
            )
        return model.double().eval()

    return make


@pytest.fixture
def official_path(tmp_path):
    """Gives the path of an official mace-torch file of tests/reference by name."""

    def unpack(name: str) -> Path:
        path = tmp_path / f"{name}.model"
        path.write_bytes(lzma.decompress((REFERENCE / f"{name}.model.xz").read_bytes()))
        return path

    return unpack


@pytest.fixture
def pretended_format():
    """Gives a form of file that predicts what a model does, or what ``change`` makes of it.

    Its file holds the metadata alone; the model stays in memory.
    """

    def make(change=lambda prediction: prediction, **attributes) -> ExportFormat:
        written = {}

        def write(path, model, metadata):
            written[path] = model
            path.write_text(json.dumps(metadata))

        def predict(path, graphs):
            assert path.exists()
            return [change(p) for p in predict_model(written[path], graphs)]

        given = {
            "name": "pretended",
            "suffix": ".pretended",
            "takes_several_heads": True,
            "require": lambda: None,
            "next_step": "read PATH",
        }
        return ExportFormat(**given | attributes, write=write, predict=predict)

    return make
