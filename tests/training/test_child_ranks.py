"""Ranks that Lightning started: adopted by us, explained, and never left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mace_train.training.child_ranks import adopt_children, end_children, exit_of

ROOT = Path(__file__).parents[2]


def _python(code, **options):
    return subprocess.Popen([sys.executable, "-c", code], text=True, **options)


def test_the_end_of_a_child_is_explained():
    killed = _python("import time; time.sleep(60)")
    killed.kill()
    assert exit_of(killed) == "was killed by SIGKILL (out of memory?)"
    terminated = _python("import time; time.sleep(60)")
    terminated.terminate()
    assert exit_of(terminated) == "was killed by SIGTERM"
    failed = _python("raise SystemExit(3)")
    failed.wait()
    assert exit_of(failed) == "ended without a word (exit code 3)"


def test_a_child_that_still_runs_is_not_explained():
    child = _python("import time; time.sleep(60)")
    assert exit_of(child) is None
    end_children([child], within=0.0)
    assert child.wait() == -signal.SIGKILL


def test_children_have_some_time_to_end():
    quick = _python("import time; time.sleep(0.2)")
    end_children([quick], within=30.0)
    assert quick.returncode == 0


def test_a_launcher_without_children_gives_none():
    assert adopt_children(None) == []


ADOPTED = """
import subprocess, sys, threading, time
from types import SimpleNamespace
from lightning.fabric.strategies.launchers.subprocess_script import _launch_process_observer
from mace_train.training.child_ranks import adopt_children

child = subprocess.Popen([sys.executable, "-c", "input(); exit(1)"], stdin=subprocess.PIPE)
launcher = SimpleNamespace(procs=[child])
_launch_process_observer(launcher.procs)
(observer,) = [t for t in threading.enumerate() if t.name == "child-process-observer"]
if "adopt" in sys.argv:
    assert adopt_children(launcher) == [child]
    assert launcher.procs == []
child.communicate(b"end")
assert child.returncode == 1
observer.join(20)
print("still here" if not observer.is_alive() else "observed", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("adopts", [True, False])
def test_lightning_does_not_kill_rank_zero_over_an_adopted_child(tmp_path, adopts):
    script = tmp_path / "adopted.py"
    script.write_text(ADOPTED)
    done = subprocess.run(
        [sys.executable, str(script), *(["adopt"] if adopts else [])],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    # what it does if we leave them to it is why there is `adopt_children`
    expected = (0, "still here\n") if adopts else (-signal.SIGKILL, "")
    assert (done.returncode, done.stdout) == expected, done.stderr


ORPHANED = """
import os, subprocess, sys, time
from mace_train.training import child_ranks

child_ranks.OUTLIVE = 0.5
child_ranks.end_with_launcher()
if os.environ.get("LOCAL_RANK") is None:
    child = subprocess.Popen(
        [sys.executable, *sys.argv], env={**os.environ, "LOCAL_RANK": sys.argv[1]}
    )
    print(child.pid, flush=True)
else:
    print("watching", flush=True)
time.sleep(30)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("local_rank", "ends"), [("1", True), ("0", False)])
def test_a_rank_ends_when_the_one_that_started_it_is_killed(tmp_path, local_rank, ends):
    script = tmp_path / "orphaned.py"
    script.write_text(ORPHANED)
    parent = _python(
        f"import sys; sys.argv = [{str(script)!r}, {local_rank!r}]; "
        f"exec(open({str(script)!r}).read())",
        env={k: v for k, v in os.environ.items() if k != "LOCAL_RANK"}
        | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    child = int(parent.stdout.readline())
    assert parent.stdout.readline() == "watching\n"
    parent.kill()
    if not ends:  # a command of its own, started from a script, goes on
        time.sleep(4.0)
        os.kill(child, signal.SIGKILL)
    # the child holds the pipe, so this waits for its end
    _, errors = parent.communicate(timeout=25)
    assert ("rank 0, which started this process, is gone" in errors) == ends
