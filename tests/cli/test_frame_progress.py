import io
import logging
import sys

import pytest

from mace_train.cli import frame_progress as module
from mace_train.cli.frame_progress import frame_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_without_a_terminal_there_is_a_line_now_and_then(monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    times = iter([0.0, 1.0, 61.0, 62.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(times))
    with frame_progress("preparing") as progress:
        for done in (10, 6100, 6200):
            progress(done, 10_000)
    assert caplog.messages == ["preparing: 6100 of 10000 frames, 100 frames/s, ETA 0:00:39"]


def test_the_speed_is_that_of_now_where_frames_were_done_before(monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    times = iter([0.0, 1.0, 100.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(times))
    with frame_progress("evaluating") as progress:
        progress(9000, 10_000)
        progress(9200, 10_000)
    assert caplog.messages == ["evaluating: 9200 of 10000 frames, 2 frames/s, ETA 0:06:40"]


@pytest.mark.parametrize("total", [None, 10])
def test_on_a_terminal_there_is_a_bar(monkeypatch, total):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with frame_progress("preparing") as progress:
        progress(5, total)
    assert "preparing" in terminal.getvalue()


def test_other_ranks_draw_no_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with frame_progress("preparing") as progress:
        progress(5, 10)
    assert terminal.getvalue() == ""
