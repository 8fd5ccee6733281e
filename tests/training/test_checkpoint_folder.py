"""The newest whole checkpoint is found, whatever happened to the files."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from made_checkpoints import DAMAGES, damage, write_checkpoint

from mace_train.training.checkpoint_folder import CheckpointFolder
from mace_train.training.whole_file import partial_name


@pytest.fixture
def folder(tmp_path):
    return CheckpointFolder(tmp_path / "checkpoints")


def _add(folder, step, *, keep=3, num_epochs=0):
    partial = partial_name(folder.last)
    write_checkpoint(partial, step=step, num_epochs=num_epochs)
    folder.add(partial, keep=keep)


def _steps(folder):
    return {
        path.name: torch.load(path, weights_only=True)["global_step"]
        for path in sorted(folder.path.iterdir())
    }


def test_a_new_folder_has_no_checkpoint(folder):
    assert folder.newest_whole() is None
    folder.path.mkdir()
    assert folder.newest_whole() is None


def test_the_last_few_are_kept_under_names_that_tell_their_order(folder):
    for step in range(1, 6):
        _add(folder, step)
    assert _steps(folder) == {"last.ckpt": 5, "last-1.ckpt": 4, "last-2.ckpt": 3}
    _add(folder, 6, keep=1)
    assert _steps(folder) == {"last.ckpt": 6}


def test_a_free_name_is_filled_before_one_is_given_up(folder):
    for step in (1, 2, 3):
        _add(folder, step)
    (folder.path / "last-1.ckpt").unlink()
    _add(folder, 4)
    assert _steps(folder) == {"last.ckpt": 4, "last-1.ckpt": 3, "last-2.ckpt": 1}


class _KilledError(BaseException):
    """Stands for a kill -9 at this moment."""


@pytest.mark.parametrize("keep", [1, 2, 3])
@pytest.mark.parametrize("survived", range(4))
def test_a_kill_between_two_renames_loses_no_whole_checkpoint(
    folder, monkeypatch, keep, survived
):
    for step in (1, 2, 3):
        _add(folder, step, keep=keep)
    renames = 0
    rename = Path.replace

    def replace(path, target):
        nonlocal renames
        if renames == survived:
            raise _KilledError
        renames += 1
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    try:
        _add(folder, 4, keep=keep)
        expected = 4
    except _KilledError:
        expected = 3
    monkeypatch.undo()
    assert folder.newest_whole().step == expected
    start = folder.newest_whole()
    folder.begin(start)
    _add(folder, 5, keep=keep)
    assert folder.newest_whole().step == 5
    assert len(list(folder.path.iterdir())) <= keep
    if keep > 1:
        damage(folder.last, "empty")
        assert folder.newest_whole().step == expected


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(folder, caplog, how):
    for step in (10, 20):
        _add(folder, step)
    damage(folder.last, how)
    size = folder.last.stat().st_size
    start = folder.newest_whole()
    assert (start.path.name, start.step) == ("last-1.ckpt", 10)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"checkpoint {folder.last} ({size} bytes) is damaged: " in record.message
    assert "skipped, going on from last-1.ckpt" in record.message


def test_the_warning_tells_how_many_steps_are_lost_where_that_can_be_read(folder, caplog):
    for step in (10, 25):
        _add(folder, step)
    damage(folder.last, "one bit of a tensor")
    assert folder.newest_whole().step == 10
    assert "going on from last-1.ckpt, 15 steps earlier" in caplog.text


def test_several_damaged_ones_are_all_named(folder, caplog):
    for step in (10, 20, 30):
        _add(folder, step)
    damage(folder.last, "empty")
    damage(folder.path / "last-1.ckpt", "one bit of a tensor")
    assert folder.newest_whole().step == 10
    assert [record.message.split()[1] for record in caplog.records] == [
        str(folder.last),
        str(folder.path / "last-1.ckpt"),
    ]


@pytest.mark.parametrize("how", DAMAGES)
def test_if_none_is_whole_it_is_an_error_and_never_a_fresh_start(folder, how):
    for step in (10, 20):
        _add(folder, step)
    for path in folder.path.iterdir():
        damage(path, how)
    with pytest.raises(
        ValueError, match=r"no checkpoint in .* can be gone on from"
    ) as error:
        folder.newest_whole()
    for part in ("last.ckpt (", "last-1.ckpt (", "Nothing was changed", "resume=never"):
        assert part in str(error.value)


def test_the_best_epoch_is_a_last_resort_and_counts_if_it_is_later(folder):
    _add(folder, 20, num_epochs=2)
    write_checkpoint(folder.best, step=10, num_epochs=1)
    assert folder.newest_whole().path == folder.last
    damage(folder.last, "empty")
    assert folder.newest_whole().path == folder.best
    write_checkpoint(folder.last, step=5)
    assert folder.newest_whole().path == folder.best


def test_of_one_step_the_one_after_the_validation_counts_and_then_the_first_name(folder):
    _add(folder, 10, num_epochs=0)
    write_checkpoint(folder.best, step=10, num_epochs=1)
    assert folder.newest_whole().path == folder.best
    _add(folder, 10, num_epochs=1)
    assert folder.newest_whole().path == folder.last


def test_files_of_another_program_and_unfinished_ones_are_no_candidates(folder):
    write_checkpoint(folder.path / "last-final.ckpt", step=99)
    write_checkpoint(partial_name(folder.last), step=98)
    write_checkpoint(folder.path / "epoch=3.ckpt", step=97)
    assert folder.newest_whole() is None
    torch.save({"weights": torch.ones(3)}, folder.last)
    with pytest.raises(ValueError, match="not a training checkpoint of mace-train"):
        folder.newest_whole()


def test_a_checkpoint_of_a_newer_version_is_never_skipped(folder):
    _add(folder, 10)
    partial = write_checkpoint(partial_name(folder.last), step=20, format=2)
    folder.add(partial, keep=3)
    with pytest.raises(ValueError, match=r"last\.ckpt: .*format 2.*update mace-train"):
        folder.newest_whole()


def test_a_description_too_long_for_the_quick_look_is_read_wholly(folder):
    checksums = {f"{number}.xyz": "0" * 4 for number in range(80_000)}
    write_checkpoint(folder.last, step=7, metadata={"data_checksums": checksums})
    assert folder.newest_whole().step == 7


def test_what_is_damaged_or_later_than_the_start_is_set_aside(folder, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    for step in (10, 20, 30, 40):
        _add(folder, step, keep=4)
    write_checkpoint(partial_name(folder.best), step=41)
    damage(folder.last, "one bit of a tensor")
    start = folder.newest_whole()
    folder.begin(start)
    assert not folder.last.exists()
    assert not partial_name(folder.best).exists()
    assert (folder.path / "last.ckpt.aside").exists()
    folder.begin(next(s for s in folder.whole_ones(but=folder.last) if s.step == 20))
    assert "renamed" in caplog.text
    assert "10 steps later than last-2.ckpt" in caplog.text
    # The abandoned steps 30 and 40 are never found again, though they are later.
    assert folder.newest_whole().step == 20
    _add(folder, 25, keep=4)
    assert folder.newest_whole().step == 25


def test_a_damaged_checkpoint_never_pushes_a_whole_one_out(folder):
    for step in (10, 20):
        _add(folder, step, keep=2)
    damage(folder.last, "one bit of a tensor")
    folder.begin(folder.newest_whole())
    _add(folder, 30, keep=2)
    steps = [start.step for start in folder.whole_ones(but=folder.best)]
    assert steps == [30, 10]


WRITER = """
import sys
from pathlib import Path
from made_checkpoints import write_checkpoint
from mace_train.training.checkpoint_folder import CheckpointFolder
from mace_train.training.whole_file import partial_name
folder = CheckpointFolder(Path(sys.argv[1]))
start = folder.newest_whole()
folder.begin(start)
step = 0 if start is None else start.step
while True:
    step += 1
    folder.add(write_checkpoint(partial_name(folder.last), step=step), keep=2)
    print(step, flush=True)
"""


@pytest.mark.slow
def test_a_process_killed_at_any_moment_leaves_its_newest_checkpoint(folder):
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    before = 0
    for number in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder.path)],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        told = [process.stdout.readline() for _ in range(20 + number)]
        time.sleep(0.0007 * number)
        process.kill()
        last_told = int([*told, *process.communicate()[0].split()][-1])
        found = folder.newest_whole().step
        assert found in (last_told, last_told + 1)
        assert found > before
        before = found
