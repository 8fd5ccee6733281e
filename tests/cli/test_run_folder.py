import json
import logging
import sys
from pathlib import Path

import pytest
import yaml

from mace_train.cli.run_folder import RunFolder

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from made_checkpoints import damage, write_checkpoint

JOB = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "TORCHELASTIC_RUN_ID")
JOB += ("TORCHELASTIC_RESTART_COUNT", "RANK", "LOCAL_RANK", "SLURM_PROCID")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in JOB:
        monkeypatch.delenv(name, raising=False)
    return RunFolder(tmp_path / "run")


def test_a_new_run_begins_anew(folder):
    assert folder.find_start("auto") is None


def test_a_run_goes_on_from_its_last_checkpoint_unless_told_otherwise(folder):
    write_checkpoint(folder.last, step=3)
    start = folder.find_start("auto")
    assert (start.path, start.step) == (folder.last, 3)
    assert folder.find_start("never") is None


def test_a_damaged_last_checkpoint_is_skipped(folder, caplog):
    write_checkpoint(folder.last, step=30)
    write_checkpoint(folder.last.with_name("last-1.ckpt"), step=20)
    damage(folder.last, "one bit of a tensor")
    assert folder.find_start("auto").step == 20
    assert "10 steps earlier" in caplog.text
    with pytest.raises(ValueError, match=r"beside it: .*last-1.ckpt \(step 20"):
        folder.find_start(str(folder.last))


def test_a_run_that_began_elsewhere_goes_on_with_its_own_checkpoints(folder, tmp_path):
    other = write_checkpoint(tmp_path / "other" / "last.ckpt", step=9)
    assert folder.find_start(str(other)).path == other
    write_checkpoint(folder.last, step=12)
    assert folder.find_start(str(other)).path == folder.last


def test_one_can_go_back_to_an_own_checkpoint_and_what_is_later_is_set_aside(folder):
    write_checkpoint(folder.last, step=5)
    write_checkpoint(folder.best, step=3)
    start = folder.find_start(str(folder.best))
    assert start.path == folder.best
    folder.make_ready({"seed": 1}, start=start)
    assert folder.find_start("auto").path == folder.best
    assert not folder.last.exists()


@pytest.mark.parametrize(
    ("count", "job"),
    [
        ("SLURM_RESTART_COUNT", "SLURM_JOB_ID"),
        ("TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_RUN_ID"),
    ],
)
def test_a_job_that_is_started_again_goes_on_whatever_it_was_told_at_first(
    folder, monkeypatch, count, job
):
    write_checkpoint(folder.last, step=5)
    write_checkpoint(folder.best, step=3)
    monkeypatch.setenv(job, "77")
    # Killed before it began: there is only the earlier run, which was not to go on.
    monkeypatch.setenv(count, "1")
    assert folder.find_start("never") is None
    monkeypatch.setenv(count, "0")
    folder.make_ready({"seed": 1}, start=folder.find_start("never"))
    write_checkpoint(folder.last, step=2)
    monkeypatch.setenv(count, "1")
    assert folder.find_start("never").step == 2
    assert (
        folder.find_start(str(folder.path / "previous/1/checkpoints/best.ckpt")).step == 2
    )
    monkeypatch.setenv(job, "78")
    assert folder.find_start("never") is None


def test_a_job_started_again_before_its_first_checkpoint_begins_where_it_was_told(
    folder, tmp_path, monkeypatch
):
    parent = write_checkpoint(tmp_path / "parent" / "last.ckpt", step=9)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "0")
    folder.make_ready({"seed": 1}, start=folder.find_start(str(parent)))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert folder.find_start(str(parent)).path == parent


def test_the_config_is_written(folder):
    folder.make_ready({"seed": 1, "data": {"train": ["a.xyz"]}}, start=None)
    assert yaml.safe_load(folder.config.read_text()) == {
        "seed": 1,
        "data": {"train": ["a.xyz"]},
    }


OLD = ("model.safetensors", "results.json", "metrics.csv", "split.json", "parity.png")


def test_beginning_anew_moves_an_earlier_run_away_and_loses_nothing(folder, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    for run in ("first", "second"):
        folder.make_ready({"name": run}, start=None)
        write_checkpoint(folder.best, step=1)
        for name in OLD:
            (folder.path / name).write_text(run)
        folder.write_status("finished")
        folder.log.write_text("a log goes on")
    (folder.path / "notes.txt").write_text("of the user")
    folder.make_ready({"name": "third"}, start=None)
    for number, run in (("1", "first"), ("2", "second")):
        previous = folder.path / "previous" / number
        assert {(previous / name).read_text() for name in OLD} == {run}
        assert yaml.safe_load((previous / "config.yaml").read_text()) == {"name": run}
        assert (previous / "checkpoints/best.ckpt").exists()
        assert (previous / "status.json").exists()
    assert {path.name for path in folder.path.iterdir()} == {
        ".begun", "config.yaml", "log.txt", "notes.txt", "previous",
    }  # fmt: skip
    assert f"is in {folder.path}/previous/2" in caplog.text
    assert folder.find_start("auto") is None


def test_a_run_that_wrote_no_result_leaves_no_previous(folder):
    for _ in range(2):
        folder.make_ready({"seed": 1}, start=None)
        (folder.path / "metrics.csv").write_text("epoch")
    assert not (folder.path / "previous").exists()


def test_what_the_new_run_reads_stays_where_it_is(folder):
    write_checkpoint(folder.best, step=1)
    split = folder.path / "split.json"
    split.write_text("{}")
    folder.make_ready({"data": {"split_file": str(split)}}, start=None)
    assert split.read_text() == "{}"
    assert (folder.path / "previous/1/split.json").read_text() == "{}"


def test_a_start_that_would_have_to_move_is_refused(folder):
    write_checkpoint(folder.best, step=1)
    with pytest.raises(ValueError, match=r"init_from=.*best.ckpt lies in the folder of"):
        folder.make_ready({"init_from": str(folder.best)}, start=None)
    assert folder.best.exists()
    assert not (folder.path / "previous").exists()


def test_unfinished_files_go(folder):
    leftovers = [folder.path / "status.json.partial", folder.path / "config.yaml.partial"]
    leftovers.append(folder.last.with_name("last.ckpt.partial"))
    folder.last.parent.mkdir(parents=True)
    for leftover in leftovers:
        leftover.touch()
    folder.make_ready({"seed": 1}, start=None)
    assert not any(leftover.exists() for leftover in leftovers)


def test_going_on_keeps_checkpoints_and_records_what_changed_once(folder, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    write_checkpoint(folder.last, step=4)
    change = {"step": 4, "key": "optim.lr", "from": 0.01, "to": 0.02}
    later = {"step": 9, "key": "optim.lr", "from": 0.02, "to": 0.03}
    for changes in ([change], [change], [later]):
        folder.make_ready({"a": 1}, start=folder.find_start("auto"), changes=changes)
    assert folder.last.exists()
    assert caplog.text.count("changed: optim.lr from 0.01 to 0.02") == 1
    lines = folder.changes.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [change, later]


def test_the_status_tells_what_has_become_of_a_run(folder):
    folder.write_status("running")
    folder.write_status("interrupted", reason="SIGUSR1", epoch=3, step=120)
    status = json.loads(folder.status.read_text())
    assert set(status) == {"state", "reason", "epoch", "step", "time"}
    assert status["state"] == "interrupted"
    assert (status["reason"], status["epoch"], status["step"]) == ("SIGUSR1", 3, 120)
    assert [path.name for path in folder.path.iterdir()] == ["status.json"]


def test_only_the_first_rank_writes(folder, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    folder.make_ready({"seed": 1}, start=None)
    folder.write_status("running")
    with folder.locked(), folder.logging():
        logging.getLogger("mace_train").info("hidden")
    assert not folder.path.exists()


def test_the_first_rank_holds_the_lock(folder):
    with folder.locked():
        assert (folder.path / ".lock").read_text().startswith("host ")


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
