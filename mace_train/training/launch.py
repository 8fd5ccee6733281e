"""How this process was started: by srun, by torchrun, or by nobody but the user.

Floor 4, the standard library only, so that a command knows its rank before torch is
imported. What the environment lacks is named here, before a process group waits for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Starter = Literal["srun", "torchrun", "none"]

_MEANINGS = {
    "SLURM_PROCID": "rank of this task among all",
    "SLURM_LOCALID": "rank of this task on its node",
    "SLURM_NODEID": "number of this task's node",
    "SLURM_NTASKS": "number of tasks",
    "SLURM_JOB_NUM_NODES": "number of nodes",
    "SLURM_JOB_NODELIST": "names of the nodes, of which the first one is the meeting point",
    "RANK": "rank of this process among all",
    "LOCAL_RANK": "rank of this process on its machine",
    "WORLD_SIZE": "number of processes",
    "LOCAL_WORLD_SIZE": "number of processes on this machine",
    "MASTER_ADDR": "address of the machine where all processes meet",
    "MASTER_PORT": "port on that machine",
    "NODE_RANK": "number of this machine, from 0",
}
_FIRST_SPECIAL_STEP = 4_000_000_000
"""Steps from here on are SLURM's own: the batch script, an interactive shell."""


@dataclass(frozen=True)
class Launch:
    """Where this process stands among those that train together.

    Attributes:
        starter: Who started it; ``none``: the user, or Lightning on this machine.
        rank: Among all processes.
        local_rank: On this machine.
        node_rank: Number of this machine.
        num_ranks: Processes in all.
        num_nodes: Machines.
        address: Where the processes meet.
        port: On that machine.
    """

    starter: Starter
    rank: int
    local_rank: int
    node_rank: int
    num_ranks: int
    num_nodes: int
    address: str
    port: int

    @property
    def ranks_per_node(self) -> int:
        """Processes on each machine."""
        return self.num_ranks // self.num_nodes


def starter_of(environ: Mapping[str, str]) -> Starter:
    """Who started this process.

    ``torchrun`` counts inside a task of SLURM too. A shell or a batch script of SLURM is no
    task, nor is the only one of a step in a job named ``bash`` or ``interactive``.
    """
    if "TORCHELASTIC_RUN_ID" in environ or "RANK" in environ:
        return "torchrun"
    step = _step(environ)
    is_task = step.isdecimal() and int(step) < _FIRST_SPECIAL_STEP
    is_task = is_task or _number(environ, "SLURM_PROCID", 0) > 0
    return "srun" if is_task and not _is_interactive(environ) else "none"


def rank_of(environ: Mapping[str, str]) -> int:
    """The rank of this process, of which 0 writes and speaks; 0 where nothing tells it."""
    starter = starter_of(environ)
    if starter != "none":
        return _number(environ, "RANK" if starter == "torchrun" else "SLURM_PROCID", 0)
    # Lightning tells the number of all processes, which bounds those of one machine.
    node, bound = _number(environ, "NODE_RANK", 0), _number(environ, "WORLD_SIZE", 1)
    return node * bound + _number(environ, "LOCAL_RANK", 0)


def read_launch(environ: Mapping[str, str]) -> Launch | None:
    """Where this process stands; None if nobody else was started with it.

    Raises:
        ValueError: If a variable is missing, or the nodes have unequal numbers of tasks.
    """
    starter = starter_of(environ)
    if starter == "none":
        return None
    return _srun_launch(environ) if starter == "srun" else _torchrun_launch(environ)


def job_shape(environ: Mapping[str, str]) -> tuple[int, int] | None:
    """Processes on each machine and machines; None if nobody else was started with it.

    Raises:
        ValueError: As `read_launch`.
    """
    launch = read_launch(environ)
    return None if launch is None else (launch.ranks_per_node, launch.num_nodes)


def check_launch(
    environ: Mapping[str, str],
    *,
    devices: Literal["auto"] | int = "auto",
    num_nodes: Literal["auto"] | int = "auto",
    launcher: Literal["auto", "srun", "torchrun"] = "auto",
) -> None:
    """Refuse to train where the processes that were started are not those asked for.

    Args:
        environ: Variables of this process.
        devices: Processes on each machine (``trainer.devices``).
        num_nodes: Machines (``trainer.num_nodes``).
        launcher: Who must have started this process (``trainer.launcher``).

    Raises:
        ValueError: With the variable that is missing, or both numbers, and the cure.
    """
    launch = read_launch(environ)
    if launch is None:
        _check_lone_start(environ, num_nodes=num_nodes, launcher=launcher)
        return
    if launcher not in ("auto", launch.starter):
        raise ValueError(
            f"trainer.launcher={launcher}, but {launch.starter} started this process: "
            "set trainer.launcher=auto"
        )
    started = (launch.ranks_per_node, launch.num_nodes)
    per_node = started[0] if devices == "auto" else devices
    nodes = started[1] if num_nodes == "auto" else num_nodes
    if started == (per_node, nodes):
        return
    flags = {
        "srun": f"--ntasks-per-node={per_node} --nodes={nodes}",
        "torchrun": f"--nproc-per-node={per_node} --nnodes={nodes}",
    }
    raise ValueError(
        f"{launch.starter} started {launch.num_ranks} processes ({started[0]} on each of "
        f"{started[1]} nodes), but trainer.devices={devices} and trainer.num_nodes="
        f"{num_nodes} ask for {per_node * nodes}: leave both at auto, or start them with "
        f"{flags[launch.starter]}"
    )


def _check_lone_start(
    environ: Mapping[str, str], *, num_nodes: Literal["auto"] | int, launcher: str
) -> None:
    """Refuse where a single process would wait for others that nobody starts."""
    if launcher == "srun":
        raise ValueError(
            "trainer=slurm, but SLURM_STEP_ID (number of srun's step) is not set, so srun "
            "did not start this process: write `srun mace-train ...` inside the job (the "
            "files in scripts/slurm/ do), or trainer=auto to train without SLURM's tasks"
        )
    if launcher == "torchrun":
        raise ValueError(
            "trainer.launcher=torchrun, but RANK (rank of this process among all) is not "
            "set: start with `torchrun --nproc-per-node=N --no-python mace-train ...`"
        )
    num_tasks = _number(environ, "SLURM_NTASKS", 1)
    if "SLURM_JOB_ID" in environ and num_tasks > 1 and not _is_interactive(environ):
        raise ValueError(
            f"this is a SLURM job of {num_tasks} tasks, but SLURM_STEP_ID (number of "
            "srun's step) is not set, so this one process would train alone: write `srun "
            "mace-train ...`, or set SLURM_JOB_NAME=interactive to do without the others"
        )
    if num_nodes != "auto" and num_nodes > 1:
        cure = (
            "start with srun (scripts/slurm/train_multi_node.sbatch) or torchrun, which "
            "set them, or leave trainer.num_nodes at auto"
        )
        what = f"trainer.num_nodes={num_nodes}"
        _need(environ, ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"), what=what, cure=cure)


def _srun_launch(environ: Mapping[str, str]) -> Launch:
    num_ranks_key = _first_of(environ, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
    num_nodes_key = _first_of(
        environ, "SLURM_STEP_NUM_NODES", "SLURM_NNODES", "SLURM_JOB_NUM_NODES"
    )
    needed = ["SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", num_ranks_key, num_nodes_key]
    nodes_key = _first_of(
        environ, "SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST"
    )
    if "MASTER_ADDR" not in environ:
        needed.append(nodes_key)
    cure = "pass srun's variables on to the task (a container or a wrapper may drop them)"
    _need(environ, needed, what="srun started this process", cure=cure)
    num_ranks, num_nodes = int(environ[num_ranks_key]), int(environ[num_nodes_key])
    tasks = environ.get("SLURM_STEP_TASKS_PER_NODE", environ.get("SLURM_TASKS_PER_NODE"))
    if num_ranks % num_nodes or (tasks and "," in tasks):
        spread = f" ({tasks} on the nodes)" if tasks else ""
        raise ValueError(
            f"srun started {num_ranks} tasks on {num_nodes} nodes{spread}: each node must "
            "have the same number; use --ntasks-per-node instead of --ntasks"
        )
    return Launch(
        starter="srun",
        rank=int(environ["SLURM_PROCID"]),
        local_rank=int(environ["SLURM_LOCALID"]),
        node_rank=int(environ["SLURM_NODEID"]),
        num_ranks=num_ranks,
        num_nodes=num_nodes,
        address=environ.get("MASTER_ADDR") or first_node(environ[nodes_key]),
        port=_number(environ, "MASTER_PORT", _step_port(environ)),
    )


def _torchrun_launch(environ: Mapping[str, str]) -> Launch:
    needed = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    cure = "start with torchrun, which sets it, or unset RANK to train alone"
    _need(
        environ,
        (*needed, "MASTER_ADDR", "MASTER_PORT"),
        what="RANK or TORCHELASTIC_RUN_ID says that torchrun started this process",
        cure=cure,
    )
    rank, local_rank, num_ranks, per_node = (int(environ[name]) for name in needed)
    if num_ranks % per_node:
        raise ValueError(
            f"torchrun started {num_ranks} processes (WORLD_SIZE), {per_node} of them on "
            "this machine (LOCAL_WORLD_SIZE): start the same number on each"
        )
    return Launch(
        starter="torchrun",
        rank=rank,
        local_rank=local_rank,
        node_rank=_number(environ, "GROUP_RANK", rank // per_node),
        num_ranks=num_ranks,
        num_nodes=num_ranks // per_node,
        address=environ["MASTER_ADDR"],
        port=int(environ["MASTER_PORT"]),
    )


def first_node(nodes: str) -> str:
    """The first name in SLURM's list of nodes.

    >>> first_node("gpu[07-09,12],login2"), first_node("a1,b2"), first_node("c[3]-ib")
    ('gpu07', 'a1', 'c3-ib')
    """
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes.strip())
    assert first is not None
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0])


def _is_interactive(environ: Mapping[str, str]) -> bool:
    """Whether this is a shell that a user has opened in a job, as Lightning tells it.

    Tasks that are started from such a shell inherit the job's name; several are no shell.
    """
    is_named = environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return is_named and _number(environ, "SLURM_STEP_NUM_TASKS", 1) == 1


def _step(environ: Mapping[str, str]) -> str:
    """The number of srun's step; empty without one."""
    return environ.get("SLURM_STEP_ID", environ.get("SLURM_STEPID", ""))


def _step_port(environ: Mapping[str, str]) -> int:
    """A port that other jobs and other steps of this job on the same node seldom have."""
    job = re.sub(r"\D", "", environ.get("SLURM_JOB_ID", ""))[-4:] or "0"
    step = _step(environ)
    return 15000 + (int(job) + 1009 * int(step if step.isdecimal() else 0)) % 10000


def _first_of(environ: Mapping[str, str], *names: str) -> str:
    """The first of several names of one thing that is set; the last if none is."""
    return next((name for name in names if environ.get(name)), names[-1])


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    return int(environ.get(name) or default)


def _need(
    environ: Mapping[str, str],
    names: tuple[str, ...] | list[str],
    *,
    what: str,
    cure: str,
) -> None:
    """Name every variable that is missing."""
    missing = [f"{name} ({_MEANINGS[name]})" for name in names if not environ.get(name)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ValueError(f"{what}, but {', '.join(missing)} {verb} not set: {cure}")
