"""Small models of all kinds, and official files, for the tests of exports."""

import json
import lzma
from pathlib import Path

import pytest
from tiny_models import make_model

from mace_train.exports.comparison import predict_model
from mace_train.exports.export_format import ExportFormat

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture
def small_model():
    """Gives a model of a few thousand numbers, float64, with reproducible weights."""
    return make_model


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
