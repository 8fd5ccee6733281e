"""Jobs: order, failures, logs, and a Ctrl-C that the children get too."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def jobs(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import jobs

    monkeypatch.setattr(jobs, "SECONDS_BETWEEN_LOOKS", 0.02)
    return jobs


def writes(folder: Path, word: str) -> list[str]:
    code = f"open({str(folder / 'order')!r}, 'a').write({word!r} + ' '); print({word!r})"
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("at_a_time", [1, 2])
def test_commands_run_in_order_and_after_what_they_need(jobs, tmp_path, at_a_time):
    queue = [
        jobs.Job("b", [writes(tmp_path, "b")], tmp_path / "b.log", needs="a"),
        jobs.Job("a", [writes(tmp_path, "a1"), writes(tmp_path, "a2")], tmp_path / "a.log"),
    ]
    assert jobs.JobQueue(queue, at_a_time).run() == []
    assert (tmp_path / "order").read_text().split() == ["a1", "a2", "b"]


def test_a_failure_ends_its_job_and_those_that_need_it_only(jobs, tmp_path, capsys):
    fails = [sys.executable, "-c", "print('what is wrong'); raise SystemExit(3)"]
    queue = [
        jobs.Job("a", [fails, writes(tmp_path, "a2")], tmp_path / "a.log"),
        jobs.Job("b", [writes(tmp_path, "b")], tmp_path / "b.log", needs="a"),
        jobs.Job("c", [writes(tmp_path, "c")], tmp_path / "c.log"),
    ]
    assert jobs.JobQueue(queue, 2).run() == ["a", "b"]
    assert (tmp_path / "order").read_text().split() == ["c"]
    out = "".join(capsys.readouterr().out.split())
    assert "a:failed" in out
    assert "whatiswrong" in out


def test_a_need_that_is_not_asked_for_is_taken_as_there(jobs, tmp_path):
    queue = [jobs.Job("b", [writes(tmp_path, "b")], tmp_path / "b.log", needs="a")]
    assert jobs.JobQueue(queue, 1).run() == []
    assert (tmp_path / "order").read_text().split() == ["b"]


def test_several_at_a_time_share_the_cores_and_write_logs(jobs, tmp_path):
    code = "import os; print('threads', os.environ.get('OMP_NUM_THREADS'))"
    job = jobs.Job("a", [[sys.executable, "-c", code]], tmp_path / "logs" / "a.log")
    assert jobs.JobQueue([job], 2).run() == []
    share = max(1, (os.cpu_count() or 1) // 2)
    assert job.last_line() == f"threads {share}"


def test_the_last_state_of_a_progress_bar_is_the_last_line(jobs, tmp_path):
    job = jobs.Job("a", [], tmp_path / "a.log")
    assert job.last_line() == ""
    job.log.write_text("begin\nepoch 1\repoch 2 of 5\r\n\n")
    assert job.last_line() == "epoch 2 of 5"


def test_an_interrupt_waits_for_the_children(tmp_path):
    child = (
        "import signal, sys, time; from pathlib import Path;"
        "folder = Path(sys.argv[1]);"
        "signal.signal(signal.SIGINT, lambda *_: ("
        "time.sleep(0.3), (folder / 'saved').touch(), sys.exit(130)));"
        "(folder / 'ready').touch(); time.sleep(60)"
    )
    parent = (
        "import signal, sys; from pathlib import Path;"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from jobs import Job, JobQueue; folder = sys.argv[1];"
        f"child = [sys.executable, '-c', {child!r}, folder];"
        "JobQueue([Job('a', [child], Path(folder) / 'a.log')], 2).run()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent, str(tmp_path)],
        cwd=EXAMPLES,
        start_new_session=True,
    )
    for _ in range(600):
        if (tmp_path / "ready").exists():
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert (tmp_path / "saved").exists()
