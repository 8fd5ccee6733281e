"""The table of docs/pitfalls.md, held to its word, and the tests that fit nowhere else."""

import ast
import math
import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import Callback
from packaging.requirements import Requirement
from packaging.version import Version
from pair_potential import Frames, make_frame, make_module, train

from mace_train.cli.hydra_application import start
from mace_train.training import trainer
from mace_train.training.fitting import quiet_lightning
from mace_train.training.trainer import TrainerSettings

ROOT = Path(__file__).parents[1]
TABLE = (ROOT / "docs" / "pitfalls.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if re.match(r"\| \d+ \|", line)
]
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TABLE)))


def test_every_point_is_met():
    assert [int(row[0]) for row in ROWS] == list(range(1, 21))
    for number, _, answer, shown_by in ROWS:
        assert "::test_" in shown_by or answer.startswith("Cannot occur"), number


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_the_table_names_exists(file, name):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


class _Order(Callback):
    """The frames of each epoch, in the order in which they are trained on."""

    def __init__(self):
        self.epochs = []

    def on_train_epoch_start(self, trainer, pl_module):
        self.epochs.append([])

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        for graph in batch:
            self.epochs[-1] += graph.labels.frame_index.tolist()


def test_every_epoch_has_an_order_of_its_own_under_lightning(tmp_path):
    order = _Order()
    frames = Frames([make_frame(index) for index in range(12)])
    train(make_module(), frames, tmp_path, max_epochs=3, extra_callbacks=[order])
    assert [sorted(epoch) for epoch in order.epochs] == [list(range(12))] * 3
    assert len({tuple(epoch) for epoch in order.epochs}) == 3


def test_lightning_leaves_sampler_and_gradients_alone(tmp_path, monkeypatch):
    seen = {}
    build = trainer.lightning.Trainer

    def building(**options):
        seen.update(options)
        return build(**options)

    monkeypatch.setattr(trainer.lightning, "Trainer", building)
    with quiet_lightning():
        TrainerSettings(max_epochs=1, accelerator="cpu", devices=1).build(tmp_path)
    assert seen["use_distributed_sampler"] is False
    assert seen["inference_mode"] is False


def test_forces_are_validated(tmp_path, small_mace):
    model = small_mace(atomic_numbers=[3, 8], atomic_energies=[-1.0, -2.0])
    module = make_module(model)
    frames = Frames([make_frame(index) for index in range(6)], [make_frame(7)])
    train(module, frames, tmp_path, max_epochs=1)
    assert math.isfinite(module.row["valid/forces_mae"])


def test_no_run_is_named_by_the_clock():
    timed = {
        (path.relative_to(ROOT / "configs").as_posix(), line.split(":")[0].strip())
        for path in (ROOT / "configs").rglob("*.yaml")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "${now" in line
    }
    # Hydra's own folder of a sweep, which our runs do not write to
    assert timed == {("hydra/default.yaml", "dir")}


def _requirements() -> dict[str, Requirement]:
    """The dependencies of pyproject.toml, which Python 3.10 cannot parse by itself."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = text.split("\ndependencies = [", 1)[1].split("\n]", 1)[0]
    requirements = [
        Requirement(found) for found in re.findall(r'^ +"([^"]+)"', listed, re.M)
    ]
    return {requirement.name: requirement for requirement in requirements}


def test_plugins_without_maintenance_are_not_needed():
    requirements = _requirements()
    plugins = {name for name in requirements if name.startswith("hydra-")} - {"hydra-core"}
    assert plugins == set()
    assert not requirements["omegaconf"].specifier.contains("2.4.0")
    assert not requirements["hydra-core"].specifier.contains("1.4.0")


def test_malicious_releases_of_lightning_are_excluded():
    allowed = _requirements()["lightning"].specifier
    assert not allowed.contains("2.6.2")
    assert not allowed.contains("2.6.3")
    assert allowed.contains("2.6.6")
    assert Version(version("lightning")) not in {Version("2.6.2"), Version("2.6.3")}


def test_the_words_of_the_command_line_stay_as_they_are(monkeypatch, tmp_path):
    words = ["mace-train", "model=mace_tiny", "optim.lr=0.9", "seed=4"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", list(words))
    seen = []

    def run(command, config, *_):
        # what Lightning repeats to start the other ranks
        seen.append((list(sys.argv), config["optim"]["lr"]))

    start("train", run)
    assert seen == [(words, 0.9)]
    assert sys.argv == words
