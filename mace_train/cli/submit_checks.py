"""What is wrong with a job before SLURM sees it: values of ``submit`` that cannot be meant.

Floor 6, the standard library only.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from mace_train.cli.problems import Problem
from mace_train.training.run_time import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mace_train.cli.checked import Values

_MEMORY = re.compile(r"\d+[KMGT]?")
_UNWRITABLE = re.compile(r'["\\\x00-\x1f]')
_OWN_OPTIONS = {
    "nodes": "submit.nodes",
    "gpus-per-node": "submit.gpus_per_node",
    "gpus": "submit.gpus_per_node",
    "gpus-per-task": "submit.gpus_per_node, since each task must see the node's GPUs",
    "ntasks": "submit.nodes and submit.tasks_per_node",
    "ntasks-per-node": "submit.tasks_per_node",
    "cpus-per-task": "submit.cpus_per_task",
    "time": "submit.time",
    "partition": "submit.partition",
    "account": "submit.account",
    "mem": "submit.mem",
    "signal": "submit.signal_seconds",
    "output": "run_dir, where SLURM's log goes",
    "job-name": "name",
    "open-mode": "submit=slurm, since a requeued job goes on in its log",
    "chdir": "the folder that you submit from",
    "no-requeue": "submit.max_requeues=0",
    "array": "one command for each run, or -m",
}


def seconds_of(time: str) -> int | None:
    """Seconds of ``HH:MM:SS`` or ``D-HH:MM:SS``; None if it is neither.

    >>> seconds_of("1-02:00:30"), seconds_of("90")
    (93630, None)
    """
    with contextlib.suppress(ValueError):
        return parse_time(time)
    return None


def slurm_job(values: Values) -> Iterator[Problem]:
    """A job that could not run, would not go on, or would leave devices idle."""
    if not values.has("submit.send"):
        return
    yield from _limits(values)
    yield from _texts(values)
    yield from _options(values)
    yield from _devices(values)
    yield from _ranks(values)


def _limits(values: Values) -> Iterator[Problem]:
    memory = values.get("submit.mem")
    if memory is not None and not _MEMORY.fullmatch(memory):
        yield Problem("submit.mem", f"{memory!r} is not allowed; allowed: as 120G, or null")
    if not values.has("submit.time"):
        return
    limit, warning = (
        seconds_of(values.get("submit.time")),
        values.get("submit.signal_seconds"),
    )
    if not limit:
        yield Problem(
            "submit.time",
            f"{values.get('submit.time')!r} is not allowed; allowed: HH:MM:SS or "
            "D-HH:MM:SS, as 24:00:00 or 2-12:00:00",
        )
    elif warning is not None and warning >= limit:
        yield Problem(
            "submit.signal_seconds",
            f"{warning} s before the limit is before the start: submit.time="
            f"{values.get('submit.time')} has {limit} s",
        )


def _texts(values: Values) -> Iterator[Problem]:
    """What a line of the sbatch file cannot carry."""
    for key in ("name", "run_dir", "submit.partition", "submit.account"):
        text = values.get(key)
        if isinstance(text, str) and _UNWRITABLE.search(text):
            message = f'{text!r} cannot stand in an sbatch file: no ", \\ or end of line'
            yield Problem(key, message)


def _options(values: Values) -> Iterator[Problem]:
    for name, value in values.within("submit.options").items():
        if name in _OWN_OPTIONS:
            message = f"--{name} is set by {_OWN_OPTIONS[name]}"
            yield Problem(f"submit.options.{name}", message)
        elif (
            not isinstance(value, (str, int))
            or value is False
            or _UNWRITABLE.search(str(value))
        ):
            message = (
                f'{value!r} is not allowed; allowed: a text without ", \\ and end of line, '
                "an integer or true"
            )
            yield Problem(f"submit.options.{name}", message)
        elif name == "dependency" and (value is True or "?" in str(value)):
            message = (
                f"{value!r} cannot be joined with singleton, which keeps two jobs of one "
                "run apart; allowed: conditions that must all hold, as afterok:12,after:13"
            )
            yield Problem("submit.options.dependency", message)


def _devices(values: Values) -> Iterator[Problem]:
    if not values.has("submit.gpus_per_node", "trainer.accelerator"):
        return
    gpus, accelerator = (
        values.get("submit.gpus_per_node"),
        values.get("trainer.accelerator"),
    )
    named = "gres" in values.within("submit.options")
    if accelerator == "cpu" and gpus:
        yield Problem(
            "submit.gpus_per_node",
            f"{gpus} GPUs would stand idle: trainer.accelerator=cpu; set "
            "submit.gpus_per_node=0 submit.tasks_per_node=N",
        )
    if accelerator == "gpu" and not gpus and not named:
        yield Problem(
            "submit.gpus_per_node",
            "0, but trainer.accelerator=gpu; set it, or train on cpu",
        )
    tasks = values.get("submit.tasks_per_node")
    if gpus and isinstance(tasks, int) and tasks != gpus:
        yield Problem(
            "submit.tasks_per_node",
            f"{tasks} tasks for {gpus} GPUs on each node (submit.gpus_per_node): there is "
            "one task a GPU; leave it at auto",
        )


def _ranks(values: Values) -> Iterator[Problem]:
    """What the job starts against what the trainer and the batches expect."""
    if not values.has("submit.nodes", "submit.gpus_per_node", "submit.tasks_per_node"):
        return
    tasks, nodes = values.get("submit.tasks_per_node"), values.get("submit.nodes")
    if tasks == "auto":
        tasks = values.get("submit.gpus_per_node") or 1
    started = {"trainer.devices": tasks, "trainer.num_nodes": nodes}
    sources = {"trainer.devices": "tasks on each node", "trainer.num_nodes": "nodes"}
    for key, number in started.items():
        asked = values.get(key)
        if isinstance(asked, int) and asked != number:
            yield Problem(
                key, f"{asked}, but the job has {number} {sources[key]}; leave it at auto"
            )
    if values.get("trainer.launcher") == "torchrun":
        yield Problem("trainer.launcher", "torchrun, but the job's tasks are srun's")
    frames = values.get("data.batch_size")
    if frames is not None and frames < tasks * nodes:
        yield Problem(
            "data.batch_size",
            f"{frames} frames for {tasks * nodes} ranks would leave "
            f"{tasks * nodes - frames} of them idle in every step; raise it, or ask for "
            "fewer nodes",
        )
