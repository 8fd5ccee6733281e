"""The sbatch file, and that scripts/slurm/ holds what the renderer writes."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sbatch_templates import TEMPLATES

from mace_train.cli.slurm_job import SlurmJob, quoted, quoted_option

ROOT = Path(__file__).parents[2]
FIXED = {
    "header": ["what it is"],
    "name": "NAME",
    "output": "log",
    "setup": ["true"],
    "locate": ["run_dir=runs/NAME"],
    "again": "sbatch it",
}


def rendered(**options):
    return SlurmJob(**options).render(["mace-train", "seed=1"], **FIXED)


def options(text):
    return [line.split()[1] for line in text.splitlines() if line.startswith("#SBATCH")]


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_files_in_scripts_are_what_the_renderer_writes(name):
    written = (ROOT / "scripts" / "slurm" / name).read_text(encoding="utf-8")
    assert written == TEMPLATES[name], (
        f"write TEMPLATES[{name!r}] into scripts/slurm/{name}"
    )


def test_there_is_one_task_a_gpu_unless_told_otherwise():
    assert (SlurmJob().tasks, SlurmJob(nodes=8).num_ranks) == (4, 32)
    assert SlurmJob(gpus_per_node=0).tasks == 1
    assert SlurmJob(gpus_per_node=0, tasks_per_node=16, nodes=2).num_ranks == 32
    assert SlurmJob(gpus_per_node=0, options={"gres": "gpu:4"}).on_gpus
    assert not SlurmJob(gpus_per_node=0).on_gpus


def test_what_is_asked_for_stands_in_the_file():
    text = rendered(
        nodes=3,
        gpus_per_node=8,
        time="2-00:00:00",
        partition="gpu",
        account="mat",
        mem="120G",
        signal_seconds=300,
        options={"qos": "long", "exclusive": True},
    )
    assert {
        "--job-name=NAME",
        "--nodes=3",
        "--gpus-per-node=8",
        "--ntasks-per-node=8",
        "--cpus-per-task=8",
        "--time=2-00:00:00",
        "--signal=B:USR1@300",
        "--requeue",
        "--open-mode=append",
        "--output=log",
        "--partition=gpu",
        "--account=mat",
        "--mem=120G",
        "--qos=long",
        "--exclusive",
    } == set(options(text))
    assert "NCCL_SOCKET_IFNAME" in text
    assert "NCCL" not in rendered(nodes=1)
    assert not any("gpu" in option for option in options(rendered(gpus_per_node=0)))


def test_an_option_line_carries_no_word_besides_its_option_and_comment():
    for line in rendered(nodes=2).splitlines():
        if line.startswith("#SBATCH"):
            assert re.fullmatch(r"#SBATCH \S+( +# .*)?", line), line


def test_words_reach_the_command_as_they_are():
    words = ["data.train=[a.xyz,b c.xyz]", "name=it's", "x=$HOME", 'y="q"']
    said = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {' '.join(quoted(words))}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.splitlines() == words


@pytest.mark.parametrize(
    "text", ["two words # x", "two  # x", "it's", 'a "b" \\ c', "tab\there", "plain", ""]
)
def test_sbatch_reads_an_option_as_it_was_meant(text):
    job = rendered(partition=text, account=text, options={"comment": text})
    lines = [line for line in job.splitlines() if line.startswith("#SBATCH")]
    read = [shlex.split(line.removeprefix("#SBATCH"), comments=True) for line in lines]
    for key in ("partition", "account", "comment"):
        assert [f"--{key}={text}"] in read
    assert shlex.split(quoted_option(text)) == [text]


STUBS = """
srun() {{
    printf '%s\\n' "$@" > srun_words
    trap 'echo forwarded >> srun_signals' USR1
    {during}
    {status}
    return {code}
}}
scontrol() {{ echo "$@" > scontrol_words; return {requeued}; }}
"""


def run_script(folder, *, during="", state=None, code=0, requeued=0, restarts=0):
    """Run a rendered file in bash with stand-ins for SLURM's commands."""
    status = "true"
    if state is not None:
        status = (
            f"""mkdir -p runs/NAME; echo '{{"state": "{state}"}}' > runs/NAME/status.json"""
        )
    stubs = STUBS.format(during=during, status=status, code=code, requeued=requeued)
    script = folder / "job.sbatch"
    script.write_text(rendered().replace("\ntrue\n", stubs, 1))
    return subprocess.run(
        ["bash", str(script)],
        cwd=folder,
        env={
            "PATH": "/usr/bin:/bin",
            "SLURM_JOB_ID": "42",
            "SLURM_RESTART_COUNT": str(restarts),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def was_requeued(folder):
    return (folder / "scontrol_words").is_file()


def test_an_interrupted_run_is_requeued(tmp_path):
    done = run_script(tmp_path, state="interrupted", code=138)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "scontrol_words").read_text() == "requeue 42\n"
    assert "requeueing job 42" in done.stdout
    assert (tmp_path / "srun_words").read_text().split()[-2:] == ["mace-train", "seed=1"]


@pytest.mark.parametrize(
    ("given", "added", "folder"),
    [
        ([], ["name=mptrj-42"], "runs/mptrj-42"),
        (["name=auto", "seed=1"], ["name=mptrj-42"], "runs/mptrj-42"),
        (["name='run (1)'"], [], "runs/run (1)"),
        (['name="it"', "name=last"], [], "runs/last"),
        (["run_dir='my runs/x'", "data.elements=[1, 8]"], ["name=mptrj-42"], "my runs/x"),
        (["run_dir=/a=b", "name=c"], [], "/a=b"),
    ],
)
def test_a_template_passes_on_what_was_given(given, added, folder, tmp_path):
    text = TEMPLATES["train_single_node.sbatch"]
    start, end = text.index('name=""'), text.index("rm -f")
    words = 'printf \'%s\\n\' "${run_dir}" "$@"'
    done = subprocess.run(
        ["bash", "-ec", text[start:end] + words, "file", *given],
        env={"PATH": "/usr/bin:/bin", "SLURM_JOB_ID": "42"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [folder, *given, *added]
    assert 'trainer=slurm \\\n    "$@" &\n' in text


@pytest.mark.parametrize(("state", "code"), [("finished", 0), ("failed", 1), (None, 2)])
def test_a_run_that_ended_or_failed_is_not(state, code, tmp_path):
    done = run_script(tmp_path, state=state, code=code)
    assert done.returncode == code, done.stderr
    assert not was_requeued(tmp_path)


def test_what_an_earlier_start_said_does_not_requeue_a_failed_one(tmp_path):
    folder = tmp_path / "runs" / "NAME"
    folder.mkdir(parents=True)
    (folder / "status.json").write_text('{"state": "interrupted"}')
    assert run_script(tmp_path, code=2).returncode == 2
    assert not was_requeued(tmp_path)


def test_the_signal_is_handed_to_srun_and_its_end_awaited(tmp_path):
    during = "kill -USR1 $$; sleep 1"
    done = run_script(tmp_path, during=during, state="interrupted", code=138)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "srun_signals").read_text() == "forwarded\n"
    assert was_requeued(tmp_path)


def test_a_cancelled_job_stays_cancelled_but_not_one_at_its_time_limit(tmp_path):
    cancelled, at_limit = tmp_path / "cancelled", tmp_path / "at_limit"
    for folder, during in (
        (cancelled, "kill -TERM $$; sleep 1"),
        (at_limit, "kill -USR1 $$; sleep 1; kill -TERM $$; sleep 1"),
    ):
        folder.mkdir()
        run_script(folder, during=during, state="interrupted", code=143)
    assert not was_requeued(cancelled)
    assert was_requeued(at_limit)


def test_it_is_not_requeued_for_ever(tmp_path):
    done = run_script(tmp_path, state="interrupted", code=138, restarts=100)
    assert done.returncode == 138
    assert "giving up" in done.stderr
    assert not was_requeued(tmp_path)


def test_where_scontrol_refuses_the_file_says_how_to_go_on(tmp_path):
    done = run_script(tmp_path, state="interrupted", code=138, requeued=1)
    assert done.returncode == 138
    assert "job 42 cannot be requeued. To go on: sbatch it" in done.stderr


def test_outside_of_slurm_the_missing_variable_is_named(tmp_path):
    script = tmp_path / "job.sbatch"
    script.write_text(rendered())
    done = subprocess.run(
        ["bash", str(script)],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "SLURM_JOB_ID: is not set: start this file with sbatch" in done.stderr
