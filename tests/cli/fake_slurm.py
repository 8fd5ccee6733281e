"""A cluster of this machine: sbatch, srun, scontrol, squeue and scancel for tests.

The first word is the name. A job is a folder of ``$FAKE_SLURM``; its batch script runs in
the background, with SLURM's variables and two tasks whatever it asks for, and again with
SLURM_RESTART_COUNT + 1 when it was requeued. Standard library only.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(os.environ["FAKE_SLURM"])
NUM_TASKS = 2


def folder_of(job):
    return HOME / str(job)


def read(job, name, default=None):
    path = folder_of(job) / name
    return json.loads(path.read_text()) if path.exists() else default


def write(job, name, value):
    path = folder_of(job) / name
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value))
    partial.replace(path)


def sbatch(words):
    given = []
    while words and words[0].startswith("--"):
        given.append(words.pop(0))
    script, *arguments = words
    text = Path(script).read_text()
    options = dict(asked_for(text), **dict(map(split_option, given)))
    job = int(os.environ.get("FAKE_SLURM_FIRST_JOB", "1")) + len(list(HOME.iterdir()))
    folder_of(job).mkdir()
    write(job, "options", options)
    (folder_of(job) / "script").write_text(text)
    subprocess.Popen(
        [sys.executable, __file__, "run_job", str(job), *arguments],
        cwd=options.get("chdir", "."),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    print(job if "parsable" in options else f"Submitted batch job {job}")


def asked_for(text):
    """Options in the lines of the file, where an unquoted # begins a comment."""
    for line in text.splitlines():
        if line.startswith("#SBATCH"):
            (option,) = shlex.split(line.removeprefix("#SBATCH"), comments=True)
            yield split_option(option)


def split_option(option):
    name, _, value = option.removeprefix("--").partition("=")
    return name, value


def run_job(words):
    """Run a job until it is not requeued."""
    job, *arguments = words
    options = read(job, "options")
    nodes = min(int(options["nodes"]), NUM_TASKS)
    days, _, clock = options["time"].rpartition("-")
    hours, minutes, seconds = map(int, clock.split(":"))
    limit = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    starts = 0
    while True:
        (folder_of(job) / "requeue").unlink(missing_ok=True)
        end = time.time() + limit
        environ = os.environ | {
            "SLURM_JOB_ID": job,
            "SLURM_JOB_NAME": options["job-name"],
            "SLURM_JOB_NUM_NODES": str(nodes),
            "SLURM_NNODES": str(nodes),
            "SLURM_NTASKS": str(NUM_TASKS),
            "SLURM_NTASKS_PER_NODE": str(NUM_TASKS // nodes),
            "SLURM_TASKS_PER_NODE": f"{NUM_TASKS // nodes}(x{nodes})",
            "SLURM_JOB_NODELIST": "localhost" if nodes == 1 else "localhost,localhost",
            "SLURM_CPUS_PER_TASK": "1",
            "SLURM_SUBMIT_DIR": str(Path.cwd()),
            "SLURM_JOB_END_TIME": str(int(end)),
            "SLURM_PROCID": "0",
            "SLURM_LOCALID": "0",
            "SLURM_NODEID": "0",
        }
        if starts:
            environ["SLURM_RESTART_COUNT"] = str(starts)
        log = Path(options["output"].replace("%j", job))
        with log.open("a" if options["open-mode"] == "append" else "w") as output:
            script = str(folder_of(job) / "script")
            batch = subprocess.Popen(
                ["bash", script, *arguments],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            write(job, "state", {"state": "RUNNING", "pid": batch.pid, "starts": starts})
            code = batch.wait()
        starts += 1
        if not (folder_of(job) / "requeue").exists():
            break
    state = "COMPLETED" if code == 0 else "FAILED"
    write(job, "state", {"state": state, "code": code, "starts": starts})


def srun(words):
    """Start the tasks, hand signals on, and end all if one fails (--kill-on-bad-exit)."""
    options = dict(split_option(word) for word in words if word.startswith("--"))
    command = words[len(options) :]
    nodes = int(os.environ["SLURM_JOB_NUM_NODES"])
    tasks = []
    for rank in range(NUM_TASKS):
        per_node = NUM_TASKS // nodes
        place = {"PROCID": rank, "LOCALID": rank % per_node, "NODEID": rank // per_node}
        environ = os.environ | {f"SLURM_{name}": str(place[name]) for name in place}
        environ |= {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(NUM_TASKS)}
        tasks.append(subprocess.Popen(command, env=environ))

    def hand_on(number, frame):
        for task in tasks:
            if task.poll() is None:
                task.send_signal(number)

    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, hand_on)
    kill_after = None
    while any(task.poll() is None for task in tasks):
        failed = any(task.poll() not in (None, 0) for task in tasks)
        if failed and options["kill-on-bad-exit"] == "1" and kill_after is None:
            hand_on(signal.SIGTERM, None)
            kill_after = time.time() + 30
        if kill_after is not None and time.time() > kill_after:
            hand_on(signal.SIGKILL, None)
        time.sleep(0.05)
    codes = [task.returncode for task in tasks]
    sys.exit(max(code if code >= 0 else 128 - code for code in codes))


def scontrol(words):
    verb, job = words
    assert verb == "requeue", words
    folder_of(job).joinpath("requeue").touch()  # an unknown job has no folder
    os.kill(read(job, "state")["pid"], signal.SIGTERM)  # SLURM ends what is requeued


def squeue(words):
    job = words[words.index("-j") + 1]
    print(read(job, "state")["state"])


def scancel(words):
    """The signal of ``--batch --signal=USR1 JOB``, as SLURM sends it near the limit."""
    *flags, job = words
    assert "--batch" in flags, words
    (name,) = [flag.removeprefix("--signal=") for flag in flags if "signal=" in flag]
    os.kill(read(job, "state")["pid"], signal.Signals[f"SIG{name}"])


if __name__ == "__main__":
    COMMANDS = (sbatch, srun, scontrol, squeue, scancel, run_job)
    {command.__name__: command for command in COMMANDS}[sys.argv[1]](sys.argv[2:])
