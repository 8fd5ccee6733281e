import subprocess
import sys

import pytest

from mace_train.cli.loggers import CsvOnly, NoLogger, Wandb, finish


@pytest.mark.parametrize(("kind", "writes_csv"), [(CsvOnly, True), (NoLogger, False)])
def test_without_wandb_there_is_no_logger_of_lightning(kind, writes_csv, tmp_path):
    assert kind().start(tmp_path, name="run", config={}) == []
    assert kind().writes_csv is writes_csv


def test_wandb_also_keeps_the_csv_file():
    assert Wandb(mode="offline").writes_csv


def test_wandb_is_imported_only_when_it_is_used():
    code = "import sys, mace_train.cli.loggers; assert 'wandb' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_wandb_works_offline_and_records_the_config(tmp_path):
    code = (
        "from pathlib import Path\n"
        "from mace_train.cli.loggers import Wandb, finish\n"
        "wandb = Wandb(mode='offline')\n"
        "loggers = wandb.start(Path('.'), name='mine', config={'seed': 3})\n"
        "loggers[0].log_metrics({'valid/loss': 0.5}, step=1)\n"
        "assert loggers[0].experiment.config['seed'] == 3\n"
        "finish(loggers)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    (folder,) = (tmp_path / "wandb").glob("offline-run-*-mine")
    assert list(folder.glob("*.wandb"))


def test_finishing_no_logger_does_nothing():
    finish([])
