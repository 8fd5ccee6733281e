"""The physics of a model in training: six numbers, and nothing of the training changed."""

import copy
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from lightning.pytorch.loggers import Logger
from pair_potential import make_module
from small_crystals import datamodule_of, make_frame, small_model

from mace_train.physics import conservation
from mace_train.physics.potential import Potential
from mace_train.training import physics_callback
from mace_train.training.callbacks import CheckpointWriter
from mace_train.training.checked_model import potential_of
from mace_train.training.checkpoint_folder import StartingPoint
from mace_train.training.fitting import fit
from mace_train.training.history import History
from mace_train.training.physics_callback import (
    COLUMNS,
    NoCallbacks,
    PhysicsCallback,
    PhysicsChecks,
    measure,
)
from mace_train.training.resume import read_checkpoint
from mace_train.training.trainer import TrainerSettings

FRAMES = [make_frame(seed) for seed in range(8)]


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    """Fewer steps and points; their number changes nothing of what is tested here."""
    monkeypatch.setattr(physics_callback, "_NVE_STEPS", 4)
    monkeypatch.setattr(physics_callback, "_DIMER_STEP", 0.25)
    monkeypatch.setattr(conservation, "_SETTLING", 2)


class Recorder(Logger):
    """Keeps what it is given to log."""

    def __init__(self) -> None:
        super().__init__()
        self.logged = []

    name, version = "recorder", 0

    def log_metrics(self, metrics, step=None):
        self.logged.append(metrics)

    def log_hyperparams(self, params):
        pass


def train(tmp_path, name, *callbacks, max_epochs=2, checkpoint=None, loggers=()):
    module = make_module(small_model())
    fit(
        module,
        datamodule_of(tmp_path, FRAMES, valid_fraction=0.25, batch_size=3),
        settings=TrainerSettings(
            max_epochs=max_epochs, accelerator="cpu", progress_bar=False
        ),
        run_dir=tmp_path / name,
        callbacks=[CheckpointWriter(), *callbacks],
        loggers=loggers,
        start=checkpoint and StartingPoint(checkpoint, read_checkpoint(checkpoint)),
    )
    return module


def rows(tmp_path, name):
    return History(tmp_path / name / "metrics.csv").rows()


def physics(row):
    return {name: row[name] for name in COLUMNS}


def test_training_is_bit_for_bit_the_same_with_it(tmp_path):
    plain = train(tmp_path, "plain")
    checked = train(tmp_path, "checked", PhysicsCallback())
    for before, after in (
        (plain.model.state_dict(), checked.model.state_dict()),
        (plain.averaged.model_state(), checked.averaged.model_state()),
    ):
        for name, value in before.items():
            assert torch.equal(value, after[name]), name
    for first, second in zip(rows(tmp_path, "plain"), rows(tmp_path, "checked")):
        assert first["valid/loss"] == second["valid/loss"]
        assert first["train/loss"] == second["train/loss"]


def test_nothing_of_the_model_is_touched_nor_any_random_number_drawn(tmp_path):
    touched = []

    class Watched(PhysicsCallback):
        def on_train_epoch_end(self, trainer, pl_module):
            def state():
                model = pl_module.model
                grads = [
                    None if p.grad is None else p.grad.clone() for p in model.parameters()
                ]
                weights = copy.deepcopy(model.state_dict())
                return (
                    weights,
                    grads,
                    torch.get_rng_state(),
                    np.random.get_state()[1].copy(),  # noqa: NPY002
                )

            before = state()
            modes = [m.training for m in pl_module.modules()]
            required = [p.requires_grad for p in pl_module.parameters()]
            backend = pl_module.model.backend
            super().on_train_epoch_end(trainer, pl_module)
            weights, grads, rng, numpy_rng = state()
            touched.extend(
                n for n, value in before[0].items() if not torch.equal(value, weights[n])
            )
            touched.extend(
                a is not b and not torch.equal(a, b) for a, b in zip(before[1], grads)
            )
            assert torch.equal(before[2], rng)
            assert np.array_equal(before[3], numpy_rng)
            assert modes == [m.training for m in pl_module.modules()]
            assert required == [p.requires_grad for p in pl_module.parameters()]
            assert backend == pl_module.model.backend

    train(tmp_path, "run", Watched(), max_epochs=1)
    assert touched
    assert not any(touched)


def test_six_numbers_stand_in_metrics_csv_and_go_to_every_logger(tmp_path):
    recorder = Recorder()
    train(tmp_path, "run", PhysicsCallback(), loggers=[recorder], max_epochs=1)
    (row,) = rows(tmp_path, "run")
    numbers = physics(row)
    assert len(numbers) == 6
    assert numbers["physics/rotation_error"] < 1e-8
    assert numbers["physics/force_fd_error"] < 1e-6
    assert numbers["physics/stress_fd_error"] < 1e-7
    assert numbers["physics/cutoff_jump"] < 1e-6
    assert numbers["physics/dimer_holes"] in (0, 1, 2, 3)
    assert np.isfinite(numbers["physics/nve_drift"])
    assert {name: recorder.logged[0][name] for name in COLUMNS} == numbers


def test_epochs_between_have_empty_cells(tmp_path):
    train(tmp_path, "run", PhysicsCallback(every_epochs=2), max_epochs=4)
    found = [physics(row)["physics/nve_drift"] is not None for row in rows(tmp_path, "run")]
    assert found == [False, True, False, True]


def test_a_run_that_goes_on_has_the_numbers_of_one_that_was_not_stopped(tmp_path):
    train(tmp_path, "whole", PhysicsCallback(), max_epochs=3)
    train(tmp_path, "parts", PhysicsCallback(), max_epochs=1)
    last = tmp_path / "parts/checkpoints/last.ckpt"
    train(tmp_path, "parts", PhysicsCallback(), max_epochs=3, checkpoint=last)
    whole, parts = rows(tmp_path, "whole"), rows(tmp_path, "parts")
    assert [physics(row) for row in whole] == [physics(row) for row in parts]


def test_a_run_that_goes_on_without_it_keeps_the_columns(tmp_path):
    train(tmp_path, "run", PhysicsCallback(), max_epochs=1)
    last = tmp_path / "run/checkpoints/last.ckpt"
    train(tmp_path, "run", max_epochs=2, checkpoint=last)
    first, second = rows(tmp_path, "run")
    assert physics(first)["physics/nve_drift"] is not None
    assert set(physics(second).values()) == {None}


def test_the_averaged_weights_are_checked_in_float64(tmp_path, monkeypatch):
    seen = []

    def spy(potential, *args, **options):
        seen.append(copy.deepcopy(potential.calculator))
        return dict.fromkeys(COLUMNS, 0.0), []

    monkeypatch.setattr(physics_callback, "measure", spy)
    module = train(tmp_path, "run", PhysicsCallback(), max_epochs=1)
    atoms = make_frame(3)
    expected = small_model()
    expected.load_state_dict(module.averaged.model_state())
    trained = small_model()
    trained.load_state_dict(module.model.state_dict())
    energies = [potential_of(model).energy(atoms) for model in (expected, trained)]
    assert Potential(seen[0]).energy(atoms) == energies[0]
    assert energies[0] != energies[1]


def test_a_hole_is_warned_of_once_an_epoch_with_its_pair(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    train(tmp_path, "run", PhysicsCallback(), max_epochs=2)
    holes = [physics(row)["physics/dimer_holes"] for row in rows(tmp_path, "run")]
    warned = [r.message for r in caplog.records if "is not physical" in r.message]
    assert all(holes), "a model of random weights has no walls"
    assert len(warned) == 2
    assert f"epoch 0 is not physical: {holes[0]:.0f} of 3 dimers have holes" in warned[0]
    assert "Å" in warned[0]


class Wrong(Calculator):
    """Forces without energy, and nothing at all for large structures."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if not self.atoms.pbc.any():
            raise RuntimeError("no molecules")
        forces = np.full((len(self.atoms), 3), 0.5)
        self.results = {"energy": 1.0, "forces": forces, "stress": np.zeros(6)}


def test_a_check_that_fails_gives_nan_and_the_others_their_numbers(caplog):
    potential = Potential(Wrong(), r_max=4.0, num_interactions=1)
    atoms = bulk("Li").repeat(2)
    numbers, holes = measure(potential, atoms, ((3, 3),), temperature=300.0)
    assert numbers["physics/force_fd_error"] == pytest.approx(0.5)
    assert np.isnan(numbers["physics/dimer_holes"])
    assert not holes
    assert "a check of the physics failed: no molecules" in caplog.text
    wrong = physics_callback._beyond_limits(numbers, holes, num_pairs=1)
    assert any(text.startswith("physics/dimer_holes nan") for text in wrong)
    assert any("physics/force_fd_error 0.5 eV/Å (limit 1e-06)" in text for text in wrong)


def test_a_copy_that_fails_gives_nan_and_the_run_goes_on(tmp_path, monkeypatch, caplog):
    def fail(module, head):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(physics_callback, "_potential", fail)
    train(tmp_path, "run", PhysicsCallback())
    assert len(rows(tmp_path, "run")) == 2
    assert "epoch 0: the model cannot be checked: out of memory" in caplog.text
    assert all(np.isnan(value) for value in physics(rows(tmp_path, "run")[1]).values())


def test_frames_that_cannot_be_chosen_leave_cells_empty(tmp_path, monkeypatch, caplog):
    def fail(*args):
        raise OSError("the disk is gone")

    monkeypatch.setattr(physics_callback, "choose_structures", fail)
    train(tmp_path, "run", PhysicsCallback())
    assert [set(physics(row).values()) for row in rows(tmp_path, "run")] == [{None}] * 2
    assert "nothing is checked: the disk is gone" in caplog.text


def test_what_cannot_be_measured_is_left_empty():
    class NoStress(Wrong):
        implemented_properties = ("energy", "forces")

        def calculate(self, *args, **options):
            super().calculate(*args, **options)
            del self.results["stress"]

    numbers, _ = measure(
        Potential(NoStress(), r_max=4.0), bulk("Li").repeat(2), ((3, 3),), temperature=300.0
    )
    assert numbers["physics/stress_fd_error"] is None


def test_an_unknown_head_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"callbacks.head=scan: the model has no such head"
    ):
        train(tmp_path, "run", PhysicsCallback(head="scan"))


def test_groups_build_what_a_run_starts():
    assert NoCallbacks().start() == []
    (callback,) = PhysicsChecks(every_epochs=5).start()
    assert callback.every_epochs == 5


def test_a_run_without_crystals_takes_built_ones(tmp_path):
    frames = [make_frame(seed, molecule=True) for seed in range(8)]
    callback = PhysicsCallback()
    fit(
        make_module(small_model()),
        datamodule_of(tmp_path, frames, valid_fraction=0.25, batch_size=3),
        settings=TrainerSettings(max_epochs=1, accelerator="cpu", progress_bar=False),
        run_dir=tmp_path / "run",
        callbacks=[callback],
    )
    assert isinstance(callback._atoms, Atoms)
    assert callback._atoms.pbc.all()
    assert rows(tmp_path, "run")[0]["physics/stress_fd_error"] is not None


@pytest.mark.slow
def test_two_ranks_end_together_with_one_set_of_numbers(tmp_path):
    code = Path(__file__).parents[2]
    done = subprocess.run(
        [
            sys.executable, "-m", "mace_train.cli.train", "callbacks=physics",
            "trainer.devices=2", "trainer.accelerator=cpu", "trainer.max_epochs=2",
            "model.hidden_irreps=2x0e", "model.max_ell=1", "model.correlation=1",
            "model.readout_hidden_irreps=2x0e", "run_dir=run", "report.figures=false",
            "data.cache_dir=cache", "data.batch_size=100",
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(code), "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("physics of epoch") == 2
    assert all(
        physics(row)["physics/nve_drift"] is not None for row in rows(tmp_path, "run")
    )
