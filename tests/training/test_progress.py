"""What a run says: table, lines, and a bar that log messages do not tear."""

import io
import logging
import sys

import pytest
from pair_potential import Frames, make_frame, make_module, train

from mace_train.training import progress
from mace_train.training.progress import HEADER, table_row

FRAMES = [make_frame(index) for index in range(10)]
ROW = {
    "epoch": 12,
    "step": 130,
    "stage": 1,
    "lr": 0.01,
    "train/loss": 0.123456,
    "valid/loss": 12.5,
    "valid/energy_per_atom_mae": 0.0119,
    "valid/energy_per_atom_rmse": 0.02,
    "valid/forces_mae": 0.0731,
    "valid/forces_rmse": 0.1,
    "valid/stress_mae": None,
    "valid/stress_rmse": None,
    "seconds": 12.34,
    "frames_per_second": 1234.5,
}


def test_a_row_stands_under_the_header_in_milli_units():
    row = table_row(ROW, is_best=True)
    assert row.endswith(" *")
    assert len(row) == len(HEADER) + 2 <= 80
    assert row.split() == [
        *("12", "1.00e-02", "0.1235", "12.5", "11.9", "73.1", "-", "12.3", "1234.5", "*")
    ]
    ends = [
        HEADER.index(name) + len(name)
        for name in ("lr", "valid loss", "meV/Å³", "frames/s")
    ]
    for end in ends:
        assert row[end - 1] != " "
        assert row[end] == " "


def _frames():
    return Frames(FRAMES[:6], FRAMES[6:], batch_size=2)


def test_a_run_logs_a_table_with_a_row_an_epoch(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    train(make_module(), _frames(), tmp_path, max_epochs=3)
    lines = [r.message for r in caplog.records if r.name == "mace_train.training.progress"]
    assert lines[0] == HEADER
    assert [line.split()[0] for line in lines[1:]] == ["0", "1", "2"]
    assert not [r for r in caplog.records if r.name.startswith("lightning")]


def test_a_line_comes_when_a_minute_has_passed(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO, logger="mace_train")
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    train(make_module(), _frames(), tmp_path, max_epochs=2)
    lines = [r.message for r in caplog.records if r.name == progress.minute_logger.name]
    assert lines[0].startswith("epoch 0/1  step 1/3  loss 0.")
    assert "frames/s  ETA 0:00:" in lines[0]
    assert "epoch 0: validating, batch 1/2" in lines
    assert sum(line.startswith("epoch 1/1  step") for line in lines) == 3


def _terminal(monkeypatch):
    """Standard error as a terminal, and a log handler that writes to it.

    (No fixture: pytest gives every phase of a test a standard error of its own.)
    """
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    handler = logging.StreamHandler(stream)
    log = logging.getLogger("mace_train")
    monkeypatch.setattr(log, "handlers", [handler])
    monkeypatch.setattr(log, "level", logging.INFO)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_DRAWINGS", 0.0)
    return stream, handler


def test_a_terminal_gets_a_bar_and_whole_rows_above_it(tmp_path, monkeypatch):
    stream, handler = _terminal(monkeypatch)
    before = sys.stderr
    train(make_module(), _frames(), tmp_path, max_epochs=2, progress_bar="auto")
    text = stream.getvalue()
    assert "epoch 1/1  step 3/3  loss" in text
    assert "━" in text
    assert HEADER.strip() in text
    assert handler.stream is stream
    assert handler.filters == []
    assert sys.stderr is before


def test_lines_of_the_minute_stay_off_a_terminal_with_a_bar(tmp_path, monkeypatch):
    stream, _ = _terminal(monkeypatch)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    train(make_module(), _frames(), tmp_path, max_epochs=1, progress_bar=True)
    assert "validating" not in stream.getvalue()


def test_the_bar_is_closed_after_an_error(tmp_path, monkeypatch):
    class Broken(Frames):
        def on_before_batch_transfer(self, batch, dataloader_idx):
            raise RuntimeError("broken")

    stream, handler = _terminal(monkeypatch)
    with pytest.raises(RuntimeError, match="broken"):
        train(make_module(), Broken(FRAMES), tmp_path, max_epochs=1, progress_bar=True)
    assert handler.stream is stream
    assert sys.stderr is stream


def test_no_bar_where_it_is_switched_off(tmp_path, monkeypatch):
    stream, _ = _terminal(monkeypatch)
    train(make_module(), _frames(), tmp_path, max_epochs=1, progress_bar=False)
    assert "━" not in stream.getvalue()
