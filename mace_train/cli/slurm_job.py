"""`SlurmJob`: what to ask SLURM for, and the sbatch file that asks for it.

Floor 6, the standard library only. The two files of ``scripts/slurm/`` come from here too,
so that the way to requeue a run stands in one place.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mace_train.constraints import NonNegativeInt, PositiveInt

_COMMENT_COLUMN = 37

_SETTINGS = """\
#SBATCH --job-name=@name@
#SBATCH --nodes=@nodes@
#SBATCH --gpus-per-node=@gpus@
#SBATCH --ntasks-per-node=@tasks@  # one task a GPU; --gpus-per-task hides the others
#SBATCH --cpus-per-task=@cpus@  # more than data.num_workers, which build neighbor lists
#SBATCH --time=@time@
#SBATCH --signal=B:USR1@@signal@  # that many seconds before, to this script alone (B:)
#SBATCH --requeue  # SLURM may start it again, as after the failure of a node
#SBATCH --open-mode=append  # a requeued job goes on in the same log
#SBATCH --output=@output@
"""

_BODY = """
set -eo pipefail                     # not -u: conda's scripts read what is not set
: "${SLURM_JOB_ID:?is not set: start this file with sbatch}"

# bash runs a trap between two commands: here, when `wait` below returns for it. srun hands
# SIGUSR1 to every task; the run saves, writes "interrupted" into status.json and ends.
# SIGTERM alone comes from scancel or preemption, which are not ours to undo.
training="" caught="" near_limit="" cancelled=""
pass_on() { [[ -z ${training} ]] || kill -USR1 "${training}" || true; }
trap 'caught=1 near_limit=1; pass_on' USR1
trap 'caught=1 cancelled=1' TERM

@setup@

# srun does not take the number of cores from sbatch.
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
@network@
@locate@
rm -f "${run_dir}/status.json"       # what an earlier start said does not count below

# One task a GPU on every node. A rank that fails leaves none waiting (--kill-on-bad-exit);
# of an interrupted run only the first rank ends with an error, when it has written all.
# --wait=0: it may go on to write the report when the others have ended.
srun --kill-on-bad-exit=1 --wait=0 @command@ &
training=$!

# The end of the run; a signal ends `wait` sooner.
while :; do
    caught=""
    wait "${training}" && code=0 || code=$?
    [[ -n ${caught} ]] || break
done

# Only a run that says of itself that it was interrupted is started again: one that failed
# would fail again. The job keeps its number, and the run goes on from its last checkpoint.
if grep -qs '"state": *"interrupted"' "${run_dir}/status.json" &&
    [[ -n ${near_limit} || -z ${cancelled} ]]; then
    if (( ${SLURM_RESTART_COUNT:-0} >= @max_requeues@ )); then
        echo "requeued ${SLURM_RESTART_COUNT} times already: giving up" >&2
        exit "${code}"
    fi
    echo "not finished: requeueing job ${SLURM_JOB_ID}, which goes on in ${run_dir}"
    scontrol requeue "${SLURM_JOB_ID}" && exit 0
    echo "job ${SLURM_JOB_ID} cannot be requeued. To go on: @again@" >&2
fi
exit "${code}"
"""

_NETWORK = """
# If ranks hang at the start, the network interface is the usual cause. These say which one
# is used and choose one:
# export NCCL_DEBUG=INFO
# export NCCL_SOCKET_IFNAME=ib0
"""


@dataclass(frozen=True)
class SlurmJob:
    """What to ask SLURM for; keys of ``submit=slurm``.

    Args:
        nodes: Machines.
        gpus_per_node: GPUs on each; 0: train on CPUs.
        tasks_per_node: Processes on each; ``auto``: one a GPU, and one without GPUs.
        cpus_per_task: CPU cores of each process.
        time: Limit of one start of the job, ``HH:MM:SS`` or ``D-HH:MM:SS``.
        partition: Queue; None: the cluster's default.
        account: Who pays; None: the user's default.
        mem: Memory of each node, as ``120G``; None: the cluster's default.
        signal_seconds: How long before the limit the run saves and ends, in s.
        max_requeues: How often an interrupted job goes back into the queue.
        setup: Lines of shell that make ``mace-train`` known; ``auto``: the environment that
            the file is made in.
        options: Further options of sbatch by their long names; true: one without a value.
        script: The file to write.
        send: Whether to give it to sbatch.
    """

    nodes: PositiveInt = 1
    gpus_per_node: NonNegativeInt = 4
    tasks_per_node: Literal["auto"] | PositiveInt = "auto"
    cpus_per_task: PositiveInt = 8
    time: str = "24:00:00"
    partition: str | None = None
    account: str | None = None
    mem: str | None = None
    signal_seconds: PositiveInt = 180
    max_requeues: NonNegativeInt = 100
    setup: str | Sequence[str] = "auto"
    options: Mapping[str, str | int | bool] = field(default_factory=dict)
    script: str = "job.sbatch"
    send: bool = False

    @property
    def tasks(self) -> int:
        """Processes on each node."""
        if self.tasks_per_node == "auto":
            return self.gpus_per_node or 1
        return int(self.tasks_per_node)

    @property
    def on_gpus(self) -> bool:
        """Whether GPUs are asked for, as older clusters name them (``gres``) or not."""
        return self.gpus_per_node > 0 or "gres" in self.options

    @property
    def num_ranks(self) -> int:
        """Processes in all."""
        return self.nodes * self.tasks

    def render(
        self,
        words: Sequence[str],
        *,
        header: Sequence[str],
        name: str,
        output: str,
        setup: Sequence[str],
        locate: Sequence[str],
        again: str,
        options: Sequence[str] = (),
    ) -> str:
        """The sbatch file.

        Args:
            words: The training command, quoted for the shell; one line each.
            header: What the file is and how to send it.
            name: The job's name, as `quoted_option` gives it.
            output: Its log, quoted alike; ``%j`` is the job's number.
            setup: Lines of shell before the training.
            locate: Lines of shell that set ``run_dir``.
            again: How to go on by hand, for inside double quotes of the shell.
            options: Of sbatch, besides those of this job, with dashes.
        """
        settings = _filled(
            _SETTINGS,
            name=name,
            nodes=self.nodes,
            gpus=self.gpus_per_node,
            tasks=self.tasks,
            cpus=self.cpus_per_task,
            time=self.time,
            signal=self.signal_seconds,
            output=output,
        ).splitlines()
        if not self.gpus_per_node:
            settings = [line for line in settings if "--gpus-per-node" not in line]
        named = {"partition": self.partition, "account": self.account, "mem": self.mem}
        more = [
            f"--{key}" if value is True else f"--{key}={quoted_option(str(value))}"
            for key, value in (named | dict(self.options)).items()
            if value is not None
        ]
        settings += [f"#SBATCH {option}" for option in (*more, *options)]
        body = _filled(
            _BODY,
            setup="\n".join(setup),
            network=_NETWORK if self.nodes > 1 else "",
            locate="\n".join(locate),
            command=" \\\n    ".join(words),
            max_requeues=self.max_requeues,
            again=again,
        )
        lines = ["#!/bin/bash", *(f"# {line}".rstrip() for line in header), "#"]
        return "\n".join([*lines, *map(_aligned, settings)]) + "\n" + body


def script_template(job: SlurmJob, *, header: Sequence[str]) -> str:
    """A file of ``scripts/slurm/``, which takes overrides as sbatch's further arguments.

    Args:
        job: What to ask for.
        header: What the file is for.
    """
    locate = [
        "# A requeued job keeps its number, and so the run its folder; name=... or",
        "# run_dir=... among the overrides choose another.",
        'name="" run_dir=""',
        'for word in "$@"; do',
        '    value="${word#*=}"',
        "    value=${value#[\\'\\\"]} value=${value%[\\'\\\"]}  # those quotes are Hydra's",
        '    case "${word}" in',
        "    name=auto) ;;",
        '    name=*) name="${value}" ;;',
        '    run_dir=*) run_dir="${value}" ;;',
        "    esac",
        "done",
        '[[ -n ${name} ]] || set -- "$@" name="${name:=mptrj-${SLURM_JOB_ID}}"',
        'run_dir="${run_dir:-runs/${name}}"',
    ]
    words = [
        "mace-train",
        "model=mace_mp_medium data=mptrj data.train=shards/mptrj trainer=slurm",
        '"$@"',
    ]
    return job.render(
        words,
        header=header,
        name="mace-train",
        output="slurm-%j.log",
        setup=[_aligned("source .venv/bin/activate  # or: conda activate ...")],
        locate=locate,
        again="sbatch this file with name=${name} and the same overrides",
    )  # fmt: skip


def _filled(text: str, **values: object) -> str:
    """A text with values where it has ``@name@``."""
    return re.sub(r"@(\w+)@", lambda match: str(values[match[1]]), text)


def quoted(words: Sequence[str]) -> list[str]:
    """Words as a shell reads them back."""
    return [shlex.quote(word) for word in words]


def quoted_option(value: str) -> str:
    r"""A value as sbatch reads it back from a line of the file.

    >>> quoted_option("gpu"), quoted_option("two words # x")
    ('gpu', '"two words # x"')
    """
    escaped = re.sub(r'(["\\])', r"\\\1", value)
    return f'"{escaped}"' if re.search(r"[\s#'\"\\]", value) or not value else value


def _aligned(line: str) -> str:
    """A line whose comment, outside of quotes, begins in one column with the others'."""
    parts = re.fullmatch(r'((?:"(?:\\.|[^"\\])*"|[^"])*?)  # (.*)', line)
    return f"{parts[1]:<{_COMMENT_COLUMN}}# {parts[2]}" if parts else line
