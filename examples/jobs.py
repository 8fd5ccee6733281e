"""Run command lines, some at a time, with one line of progress for each that runs.

With one at a time a child writes to the terminal itself, with its own progress bars. With
more, each writes to a log, whose last line is shown, and has its share of the cores.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

SECONDS_BETWEEN_LOOKS = 0.5


@dataclass
class Job:
    """Command lines, one after the other.

    Attributes:
        name: As shown.
        commands: Command lines; the first that fails ends the job.
        log: Where they write to if several jobs run at a time.
        minutes: About, on one core; 0: not known.
        needs: Name of a job that must end before this one starts; empty: none.
    """

    name: str
    commands: list[list[str]]
    log: Path
    minutes: float = 0.0
    needs: str = ""
    began: float = field(default=0.0, init=False)
    process: subprocess.Popen | None = field(default=None, init=False)

    def start(self, environment: dict[str, str] | None) -> None:
        """Start the next command line; into the log if there is an environment."""
        words = self.commands.pop(0)
        if environment is None:
            self.process = subprocess.Popen(words)
        else:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("a" if self.began else "w", encoding="utf-8") as file:
                self.process = subprocess.Popen(
                    words, env=environment, stdout=file, stderr=subprocess.STDOUT
                )
        self.began = self.began or time.perf_counter()

    def elapsed(self) -> float:
        """Minutes since the start."""
        return (time.perf_counter() - self.began) / 60

    def last_line(self) -> str:
        """Of the log; a progress bar that was overwritten counts with its last state."""
        if not self.log.is_file():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 2000))
            text = file.read().decode("utf-8", errors="replace")
        lines = [line for line in text.replace("\r", "\n").splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""


class JobQueue:
    """Jobs that wait, run and have ended.

    Args:
        jobs: All of them.
        at_a_time: How many run at once.
    """

    def __init__(self, jobs: list[Job], at_a_time: int) -> None:
        self.waiting, self.at_a_time = list(jobs), at_a_time
        self.running: list[Job] = []
        self.ended: set[str] = set()
        self.failed: list[str] = []
        self.count, self.names = len(jobs), {job.name for job in jobs}
        self.console = Console(highlight=False, markup=False, soft_wrap=True)
        self.live = Live(console=self.console, auto_refresh=False, transient=True)
        self.environment = None
        if at_a_time > 1:
            threads = max(1, (os.cpu_count() or 1) // at_a_time)
            self.environment = os.environ | {"OMP_NUM_THREADS": str(threads)}

    def next_job(self) -> Job | None:
        """The first that waits for nothing."""
        for job in self.waiting:
            if job.needs in self.ended or job.needs not in self.names:
                return job
        return None

    def begin(self, job: Job) -> None:
        """Start a job."""
        self.waiting.remove(job)
        self.running.append(job)
        about = f": about {job.minutes:g} minutes on one core" if job.minutes else ""
        self.console.print(f"== {job.name}{about}")
        job.start(self.environment)

    def look_at(self, job: Job) -> None:
        """Start its next command line, or end it."""
        code = job.process.poll() if job.process else 0
        if code is None:
            return
        if code == 0 and job.commands:
            job.start(self.environment)
            return
        self.running.remove(job)
        self.ended.add(job.name)
        title = f"[{len(self.ended)}/{self.count}] {job.name}"
        if code == 0:
            self.console.print(f"{title}: {job.elapsed():.1f} minutes")
            return
        lost = [other for other in self.waiting if other.needs == job.name]
        self.waiting = [other for other in self.waiting if other not in lost]
        self.failed += [job.name, *(other.name for other in lost)]
        where = f"{job.log}: {job.last_line()}" if self.environment else "see above"
        self.console.print(f"{title}: failed; {where}")

    def picture(self) -> Group:
        """A bar over all jobs, and a line for each that runs."""
        lines = Table.grid(padding=(0, 2))
        for job in self.running:
            about = f" of about {job.minutes:g}" if job.minutes else ""
            said = Text(job.last_line(), no_wrap=True, overflow="ellipsis")
            lines.add_row(job.name, f"{job.elapsed():.1f}{about} min", said)
        bar, ended = Table.grid(padding=(0, 2)), len(self.ended)
        bar.add_row(
            f"{ended} of {self.count}", ProgressBar(self.count, completed=ended, width=40)
        )
        return Group(bar, lines)

    def run(self) -> list[str]:
        """Run all; the names of those that failed, or were not begun for that reason.

        A job that fails does not stop the others. Ctrl-C reaches the children too: they
        save what they have, and this ends with code 130.
        """
        try:
            if self.environment and self.console.is_terminal:
                self.live.start()
            while self.waiting or self.running:
                while len(self.running) < self.at_a_time and (job := self.next_job()):
                    self.begin(job)
                for job in list(self.running):
                    self.look_at(job)
                self.live.update(self.picture(), refresh=self.live.is_started)
                time.sleep(SECONDS_BETWEEN_LOOKS)
        except KeyboardInterrupt:
            for job in self.running:
                if job.process:
                    job.process.wait()
            sys.exit(130)
        finally:
            self.live.stop()
        return self.failed
