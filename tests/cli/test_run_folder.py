import logging

import pytest
import yaml

from mace_train.cli.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    return RunFolder(tmp_path / "run")


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_new_run_begins_anew(folder):
    assert folder.starting_point("auto") is None


def test_a_run_goes_on_from_its_last_checkpoint_unless_told_otherwise(folder):
    touch(folder.last)
    assert folder.starting_point("auto") == folder.last
    assert folder.starting_point("never") is None


def test_a_run_that_began_elsewhere_goes_on_with_its_own_checkpoints(folder, tmp_path):
    other = touch(tmp_path / "other" / "last.ckpt")
    assert folder.starting_point(str(other)) == other
    touch(folder.last)
    assert folder.starting_point(str(other)) == folder.last


def test_one_can_go_back_to_an_own_checkpoint_but_not_when_requeued(folder, monkeypatch):
    touch(folder.last)
    touch(folder.best)
    assert folder.starting_point(str(folder.best)) == folder.best
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert folder.starting_point(str(folder.best)) == folder.last


def test_the_config_is_written_and_old_checkpoints_go(folder):
    touch(folder.best)
    folder.begin({"seed": 1, "data": {"train": ["a.xyz"]}}, anew=True)
    assert yaml.safe_load(folder.config.read_text()) == {
        "seed": 1,
        "data": {"train": ["a.xyz"]},
    }
    assert not folder.best.exists()


def test_going_on_keeps_checkpoints_and_tells_what_changed(folder, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    folder.begin({"optim": {"lr": 0.01}, "resume": "never"}, anew=True)
    touch(folder.last)
    folder.begin({"optim": {"lr": 0.02}, "resume": "auto"}, anew=False)
    assert folder.last.exists()
    assert "changed: optim.lr from 0.01 to 0.02" in caplog.text
    assert "resume" not in caplog.text


def test_only_the_first_rank_writes(folder, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    folder.begin({"seed": 1}, anew=True)
    with folder.logging():
        logging.getLogger("mace_train").info("hidden")
    assert not folder.path.exists()


def test_the_log_holds_messages_and_what_ended_the_run(folder):
    def run():
        with folder.logging():
            logging.getLogger("mace_train.data").info("10 frames")
            raise ValueError("no frames")

    with pytest.raises(ValueError, match="no frames"):
        run()
    lines = folder.log.read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in lines] == ["10 frames", "no frames"]
    logging.getLogger("mace_train").info("later")
    assert "later" not in folder.log.read_text()
