"""``submit=slurm``: write the sbatch file of a run, explain it, and send it if asked to.

Floor 6, the standard library only: on a login node the answer comes at once.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mace_train.cli.slurm_job import SlurmJob, quoted, quoted_option

if TYPE_CHECKING:
    from collections.abc import Sequence

SLURM_JOB = "mace_train.cli.slurm_job.SlurmJob"
RUN_HERE = "mace_train.cli.submit.RunHere"


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
    log = Path(config["run_dir"].replace("%", "%%")) / "slurm-%j.log"
    others = {k: v for k, v in job.options.items() if k != "dependency"}
    text = replace(job, options=others).render(
        _command(config, words),
        header=_header(words, sending),
        name=quoted_option(config["name"]),
        output=quoted_option(str(log)),
        setup=_setup(job),
        locate=[f"run_dir={shlex.quote(config['run_dir'])}"],
        again=re.sub(r'([$`"\\])', r"\\\1", sending),
        options=[
            f"--chdir={quoted_option(str(Path.cwd()))}  # where relative paths begin",
            f"--dependency={_dependency(job)}  # singleton waits for jobs of this name",
        ],
    )
    Path(config["run_dir"]).mkdir(parents=True, exist_ok=True)
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(text, encoding="utf-8")
    number = _send(script) if job.send else None
    sys.stdout.write(f"{text}\n{_explanation(config, job, script, number)}\n")
    return {"script": str(script), "job": number}


def job_overrides(config: dict[str, Any], words: Sequence[str]) -> list[str]:
    """The words of a command line for the job: ``submit=none``, with a fixed name.

    ``submit=none`` stands against a preset of the user that chooses ``submit=slurm``.

    Args:
        config: Checked.
        words: The command line without the program's name.
    """
    named = [word for word in words if _key(word) == "name" and _is_fixed(word)]
    kept = [word for word in words if _key(word) != "name" and not _is_submit(word)]
    keys = {_key(word) for word in kept}
    added = [] if "trainer" in keys else ["trainer=slurm"]
    if not _job(config).on_gpus and "trainer.accelerator" not in keys:
        added.append("trainer.accelerator=cpu")
    name = named[-1:] or [f"name={_hydra_value(config['name'])}"]
    return [*kept, *added, *name, "submit=none"]


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


def _is_fixed(word: str) -> bool:
    """Whether a word gives the run the same name whenever the job starts."""
    return "${" not in word and word.partition("=")[2] != "auto"


def _hydra_value(text: str) -> str:
    """A text as Hydra reads it back from an override: in quotes unless it is plain.

    >>> _hydra_value("mptrj-4a5b"), _hydra_value("run (1)"), _hydra_value("null")
    ('mptrj-4a5b', "'run (1)'", "'null'")
    """
    words = ("null", "true", "false", "nan", "inf", "auto")
    if re.fullmatch(r"[A-Za-z][\w.-]*", text, re.ASCII) and text.lower() not in words:
        return text
    escaped = re.sub(
        r"(\\*)('|$)", lambda end: end[1] * 2 + end[2].replace("'", r"\'"), text
    )
    return f"'{escaped}'"


def _dependency(job: SlurmJob) -> str:
    """The user's dependency and ours, that no two jobs of one run train at once."""
    given = str(job.options.get("dependency", "singleton"))
    whole = given if "singleton" in given.split(",") else f"{given},singleton"
    return quoted_option(whole)


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
