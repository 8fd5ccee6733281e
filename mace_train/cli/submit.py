"""``submit=slurm``: write the sbatch file of a run, explain it, and send it if asked to.

Floor 4, the standard library only: on a login node the answer comes at once.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mace_train.cli.slurm_job import SlurmJob, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence

SLURM_JOB = "mace_train.cli.slurm_job.SlurmJob"


class RunHere:
    """No job: the command itself trains; ``submit=none``."""


def is_submission(config: dict[str, Any]) -> bool:
    """Whether a config asks for a job instead of a run."""
    return config.get("submit", {}).get("_target_") == SLURM_JOB


def submit(config: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Write the sbatch file into the run's folder, and print it with what it will do.

    Args:
        config: Checked, with ``submit=slurm``.
        words: The command line without the program's name.

    Returns:
        The ``script`` and the number of the ``job``, None if it was not sent.

    Raises:
        ValueError: If the job should be sent and sbatch is not there, or refuses it.
    """
    job = _job(config)
    script = Path(job.script)
    sending = f"sbatch {shlex.quote(job.script)}"
    text = job.render(
        _command(config, words),
        header=_header(words, sending),
        name=_option(config["name"]),
        output=_option(f"{Path(config['run_dir']) / 'slurm-%j.log'}"),
        setup=_setup(job),
        locate=[f"run_dir={shlex.quote(config['run_dir'])}"],
        again=sending,
        options=[
            f"--chdir={_option(str(Path.cwd()))}  # where relative paths begin",
            "--dependency=singleton  # waits while an earlier job of this name is there",
        ],
    )
    Path(config["run_dir"]).mkdir(parents=True, exist_ok=True)
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(text, encoding="utf-8")
    number = _send(script) if job.send else None
    sys.stdout.write(f"{text}\n{_explanation(config, job, script, number)}\n")
    return {"script": str(script), "job": number}


def job_overrides(config: dict[str, Any], words: Sequence[str]) -> list[str]:
    """The words of a command line for the job: without ``submit``, with a fixed name.

    Args:
        config: Checked.
        words: The command line without the program's name.
    """
    kept = [word for word in words if _key(word) != "name" and not _is_submit(word)]
    keys = {_key(word) for word in kept}
    added = [] if "trainer" in keys else ["trainer=slurm"]
    if not _job(config).on_gpus and "trainer.accelerator" not in keys:
        added.append("trainer.accelerator=cpu")
    return [*kept, *added, f"name={config['name']}"]


def _job(config: dict[str, Any]) -> SlurmJob:
    return SlurmJob(
        **{k: value for k, value in config["submit"].items() if k != "_target_"}
    )


def _command(config: dict[str, Any], words: Sequence[str]) -> list[str]:
    """The training command, each word quoted for the shell."""
    flags = [word for word in words if word.startswith("--")]
    overrides = [word for word in words if not word.startswith("--")]
    return ["mace-train", *quoted([*flags, *job_overrides(config, overrides)])]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _is_submit(word: str) -> bool:
    return _key(word).split(".")[0] == "submit"


def _setup(job: SlurmJob) -> list[str]:
    """Lines that make ``mace-train`` known to the job's shell."""
    if job.setup != "auto":
        return [job.setup] if isinstance(job.setup, str) else list(job.setup)
    activate = Path(sys.prefix) / "bin" / "activate"
    if activate.is_file():
        return [f"source {shlex.quote(str(activate))}"]
    return [f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"${{PATH}}"']


def _header(words: Sequence[str], sending: str) -> list[str]:
    given = [word.removeprefix("++") if _is_submit(word) else word for word in words]
    command = shlex.join(["mace-train", *given]).replace("\n", " ")
    return [f"Rendered by: {command}", "", f"    {sending}"]


def _option(value: str) -> str:
    """A value as sbatch reads it from a line of the file."""
    return f'"{value}"' if any(letter in value for letter in " #'") else value


def _send(script: Path) -> str:
    """Give the file to sbatch; the job's number."""
    if shutil.which("sbatch") is None:
        raise ValueError(
            f"submit.send=true, but there is no sbatch on this machine; {script} is "
            f"written: run `sbatch {script}` where SLURM is"
        )
    sent = subprocess.run(
        ["sbatch", "--parsable", str(script)], capture_output=True, text=True, check=False
    )
    if sent.returncode:
        raise ValueError(
            f"sbatch refused {script}: {sent.stderr.strip() or sent.stdout.strip()}. "
            "Change submit.partition, .account, .time ... and send it again"
        )
    return sent.stdout.strip().split(";")[0]


def _explanation(
    config: dict[str, Any], job: SlurmJob, script: Path, number: str | None
) -> str:
    """What will happen, line by line."""
    gpus = "one GPU each" if job.on_gpus else "on CPUs"
    log = Path(config["run_dir"]) / f"slurm-{number or 'JOB'}.log"
    lines = {
        "file": f"{script}, which starts: mace-train on {job.num_ranks} ranks",
        "ranks": f"{job.nodes} nodes x {job.tasks} tasks = {job.num_ranks}, {gpus}, "
        f"{job.cpus_per_task} CPU cores each",
        "batch": _batch(config["data"], job.num_ranks),
        "folder": f"{config['run_dir']}: checkpoints, metrics, model; SLURM's log: {log}",
        "limit": f"{job.signal_seconds} s before {job.time} are over the run saves and "
        f"ends; the job is requeued, at most {job.max_requeues} times, and goes on there, "
        "in the middle of an epoch too. A run that failed is not requeued",
        "by hand": "scancel JOB ends it for good; scancel --batch --signal=USR1 JOB saves "
        "and requeues it now",
    }
    if number is None:
        sending = f"sbatch {shlex.quote(job.script)}"
        lines["to send"] = f"{sending}     (or the same command with submit.send=true)"
    else:
        lines["sent"] = f"as job {number}; squeue -j {number} shows where it stands"
    workers = config["data"].get("num_workers")
    if isinstance(workers, int) and workers >= job.cpus_per_task:
        lines["note"] = (
            f"{workers} workers and the training share {job.cpus_per_task} CPU cores: "
            f"submit.cpus_per_task={workers + 1} or fewer data.num_workers"
        )
    return "\n".join(f"{key + ':':<9}{text}" for key, text in lines.items())


def _batch(data: dict[str, Any], num_ranks: int) -> str:
    per_rank = data.get("batch_size_per_rank")
    if per_rank is not None:
        return f"{per_rank} frames a rank = {per_rank * num_ranks} in the global batch"
    size = data["batch_size"]
    return f"{size} frames in the global batch, dealt to {num_ranks} ranks by edges"
