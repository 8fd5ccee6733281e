import logging

from mace_train.simulation.observables import Observables
from mace_train.simulation.progress import RunProgress

SEEN = Observables(1500, 3.0, 310.2, 305.4, -1.0, -0.5, -0.6, 0.25, None)


def a_clock(monkeypatch, *times: float) -> None:
    left = list(times)
    monkeypatch.setattr(
        "mace_train.simulation.progress.time.monotonic",
        lambda: left.pop(0) if len(left) > 1 else left[0],
    )


def test_a_line_tells_time_temperature_speed_and_what_is_left(monkeypatch):
    a_clock(monkeypatch, 0.0, 0.0, 20.0)
    with RunProgress(2500, 500, timestep=2.0, show_bar=False) as progress:
        line = progress.line(SEEN)
    # 1,000 steps of this process in 20 s; 1,000 are left.
    assert line == (
        "3.00/5 ps  305 of 310 K  drift 0.25 meV/atom  50.0 steps/s  8.64 ns/day  "
        "ETA 0:00:20"
    )


def test_without_a_terminal_there_is_a_line_a_minute(monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    a_clock(monkeypatch, 0.0, 0.0, 59.0, 61.0, 61.0, 100.0, 122.0)
    with RunProgress(2500, 500, timestep=2.0, show_bar=False) as progress:
        for _ in range(4):
            progress.tell(SEEN)
    assert len(caplog.records) == 2


def test_on_a_terminal_there_is_a_bar_that_leaves_nothing_behind(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    a_clock(monkeypatch, 0.0, 0.0, 1.0)
    with RunProgress(2500, 500, timestep=2.0, show_bar=True) as progress:
        progress.tell(SEEN)
    # Rich ends what does not fit into the 80 columns with dots.
    assert "ETA 0:00:01" in capsys.readouterr().err
