"""Runs of seconds: a handful of labelled crystals and a model of a few hundred weights."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small_crystals import make_frame, write_frames


@pytest.fixture
def frames_file(tmp_path):
    """Ten rattled crystals of Li and O."""
    return write_frames(tmp_path / "frames.xyz", [make_frame(seed) for seed in range(10)])


@pytest.fixture
def tiny_run(frames_file, tmp_path):
    """Overrides of a run of a second or two that writes into ``tmp_path / "run"``."""
    return [
        "data=extxyz",
        f"data.train={frames_file}",
        f"data.cache_dir={tmp_path / 'cache'}",
        f"run_dir={tmp_path / 'run'}",
        "data.valid_fraction=0.2",
        "data.batch_size=4",
        "model.hidden_irreps=2x0e",
        "model.max_ell=1",
        "model.correlation=1",
        "model.r_max=4.0",
        "model.num_radial_basis=3",
        "model.radial_mlp=[4]",
        "model.readout_hidden_irreps=2x0e",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=1",
        "report.figures=false",
        "checkpoint.probe_frames=3",
        "dtype=float64",
    ]
