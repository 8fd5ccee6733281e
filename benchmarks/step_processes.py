"""Worker processes of both codes: started alike, asked in turn, then stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mace_torch_peer import ONE_CORE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).parent
OURS, PEER = "mace-train", "mace-torch"
SCRIPTS = {OURS: "step_ours.py", PEER: "step_mace_torch.py"}


@dataclass(frozen=True)
class Setting:
    """What all workers of a comparison share.

    Attributes:
        peer_python: Interpreter of mace-torch's environment.
        cores: Where both codes run, one thread on each.
        backend: Of our model; None: its own choice.
        default_allocator: Whether malloc keeps its own settings.
        scripts: What the workers run, by code.
    """

    peer_python: Path
    cores: tuple[int, ...]
    backend: str | None = None
    default_allocator: bool = False
    scripts: Mapping[str, str] = field(default_factory=lambda: SCRIPTS)

    @property
    def shared_variables(self) -> dict[str, str]:
        """Environment variables that are set alike for both codes."""
        threads = str(len(self.cores))
        allocator = {n: v for n, v in ONE_CORE.items() if n.startswith("MALLOC")}
        return {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OMP_WAIT_POLICY": "PASSIVE",  # as mace-train sets it
            **({} if self.default_allocator else allocator),
        }

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of a worker."""
        kept = {n: v for n, v in os.environ.items() if not n.startswith("MALLOC")}
        return kept | self.shared_variables | {"GLOO_SOCKET_IFNAME": "lo"}


class Worker:
    """One code in a process of its own.

    Args:
        code: `OURS` or `PEER`.
        setting: Shared with the other code.
        more: Further arguments of its command line.
    """

    def __init__(self, code: str, setting: Setting, *more: str) -> None:
        self.code = code
        self.atoms: list[int] = []
        python = sys.executable if code == OURS else str(setting.peer_python.absolute())
        command = [python, str(HERE / setting.scripts[code])]
        command += ["--cores", *[str(core) for core in setting.cores], *more]
        if code == OURS and setting.backend is not None:
            command += ["--backend", setting.backend]
        # Libraries print what they like, so answers come through a pipe of their own.
        reading, writing = os.pipe()
        self.process = subprocess.Popen(
            [*command, "--answers", str(writing)],
            env=setting.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[writing],
            text=True,
        )
        os.close(writing)
        self.answers = os.fdopen(reading)

    def send(self, command: str, **arguments: Any) -> None:
        """Give a command and do not wait."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([command, arguments]) + "\n")
        self.process.stdin.flush()

    def receive(self) -> Any:
        """Wait for the answer to a command.

        Raises:
            RuntimeError: If the command failed, or the worker is gone.
        """
        line = self.answers.readline()
        if not line:
            raise RuntimeError(f"{self.code} ended with code {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.code} failed:\n{answer['error']}")
        return answer["value"]

    def ask(self, command: str, **arguments: Any) -> Any:
        """Give a command and wait for its answer."""
        self.send(command, **arguments)
        return self.receive()

    def load(self, model: Path, crystals: Path, dtype: str, batch_size: int) -> Any:
        """Read a model and make batches; see `Code.load`."""
        loaded = self.ask(
            "load",
            model=str(model),
            crystals=str(crystals),
            dtype=dtype,
            batch_size=batch_size,
        )
        self.atoms = loaded["atoms"]
        return loaded

    def mode(self, name: str) -> None:
        """Get ready to ``train`` or to ``infer``."""
        self.ask("mode", name=name)

    def step(self, batch: int) -> float:
        """Seconds of one step."""
        return self.ask("step", batch=batch)["seconds"]

    def stop(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.answers.close()
        self.process.wait()


@dataclass
class Ranks:
    """Two of our processes that train together, each with half of every batch.

    Attributes:
        workers: One a core; they find each other by a file.
    """

    workers: list[Worker]
    atoms: list[int] = field(default_factory=list)

    def load(self, model: Path, crystals: Path, dtype: str, batch_size: int) -> None:
        """Every rank reads the model and makes its halves of all batches."""
        arguments = {"dtype": dtype, "batch_size": batch_size}
        for worker in self.workers:
            worker.send("load", model=str(model), crystals=str(crystals), **arguments)
        parts = [worker.receive()["atoms"] for worker in self.workers]
        self.atoms = [sum(halves) for halves in zip(*parts)]

    def mode(self, name: str) -> None:
        """Get ready to ``train`` or to ``infer``."""
        for worker in self.workers:
            worker.mode(name)

    def step(self, batch: int) -> float:
        """Seconds until the slower rank is done."""
        for worker in self.workers:
            worker.send("step", batch=batch)
        return max(worker.receive()["seconds"] for worker in self.workers)


@contextmanager
def workers(setting: Setting, *codes: str) -> Iterator[list[Worker]]:
    """Workers of these codes, stopped at the end."""
    started = [Worker(code, setting) for code in codes]
    try:
        yield started
    finally:
        for worker in started:
            worker.stop()


@contextmanager
def two_ranks(setting: Setting) -> Iterator[Ranks]:
    """Our two ranks on the first two cores of the setting, stopped at the end."""
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "rendezvous")
        started = []
        for rank, core in enumerate(setting.cores[:2]):
            alone = Setting(
                setting.peer_python, (core,), setting.backend, setting.default_allocator
            )
            more = ("--rank", str(rank), "--rendezvous", meeting)
            started.append(Worker(OURS, alone, *more))
        try:
            yield Ranks(started)
        finally:
            for worker in started:
                worker.stop()
