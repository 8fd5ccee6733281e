import os
import shlex
import stat
import subprocess
import sys

import pytest

from mace_train.cli.command import run_overrides
from mace_train.cli.config import compose
from mace_train.cli.problems import flatten
from mace_train.cli.submit import RunHere, is_submission, job_overrides, submit
from mace_train.cli.train import train


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def command_of(script):
    """The words after srun's, as the shell reads them."""
    text = script.read_text().replace("\\\n", " ")
    (line,) = [line for line in text.splitlines() if line.startswith("srun ")]
    words = shlex.split(line.removesuffix("&"))
    return words[words.index("mace-train") + 1 :]


def test_nothing_is_submitted_unless_asked_for():
    assert not is_submission(compose("train"))
    assert not is_submission({"data": {}})
    assert is_submission(compose("train", ["submit=slurm"]))
    assert RunHere()


@pytest.mark.parametrize(
    "words",
    [
        ["model=mace_mp_small", "submit.nodes=2", "data.batch_size=64"],
        ["name=mine", "optim.lr=0.02", "submit.options.qos=long"],
        ["run_dir=elsewhere/x", "trainer=gpu", "trainer.devices=auto"],
        ["submit.gpus_per_node=0", "submit.tasks_per_node=2"],
        ["experiment=overfit_tiny", "data.elements=[1,8,Li]"],
    ],
    ids=lambda words: words[0],
)
def test_the_jobs_command_composes_the_same_run(words):
    if words[0] == "experiment=overfit_tiny":
        words = [words[0], "submit.gpus_per_node=1"]
    given = ["submit=slurm", *words]
    config = compose("train", given)
    again = compose("train", job_overrides(config, given))
    elsewhere = ("submit.", "trainer.")
    kept = {k: v for k, v in flatten(config) if not k.startswith(elsewhere)}
    assert kept == {k: v for k, v in flatten(again) if not k.startswith(elsewhere)}
    assert again["trainer"]["max_epochs"] == config["trainer"]["max_epochs"]
    assert not is_submission(again)


def test_the_job_trains_with_slurms_tasks_unless_another_trainer_was_chosen():
    config = compose("train", ["submit=slurm"])
    assert "trainer=slurm" in job_overrides(config, ["submit=slurm"])
    assert "trainer=slurm" not in job_overrides(config, ["submit=slurm", "trainer=gpu"])
    on_cpu = compose("train", ["submit=slurm", "submit.gpus_per_node=0"])
    assert "trainer.accelerator=cpu" in job_overrides(on_cpu, [])


def test_from_python_the_file_is_written_and_nothing_trained(tmp_path, capsys):
    words = ["submit=slurm", "submit.nodes=2", "data.batch_size=64", "name=my run"]
    done = train(words)
    folder = tmp_path / "runs" / "my run"
    assert done == {"script": "runs/my run/job.sbatch", "job": None}
    assert [path.name for path in folder.iterdir()] == ["job.sbatch"]
    said = capsys.readouterr().out
    assert (folder / "job.sbatch").read_text() in said
    for text in (
        "2 nodes x 4 tasks = 8, one GPU each",
        "64 frames in the global batch",
        "180 s before 24:00:00",
        "sbatch 'runs/my run/job.sbatch'",
        '#SBATCH --job-name="my run"',
        "submit.send=true",
        "slurm-JOB.log",
    ):
        assert text in said
    assert command_of(folder / "job.sbatch") == [
        "data.batch_size=64",
        "trainer=slurm",
        "name=my run",
        "submit=none",
    ]


PRESET = """\
# @package _global_
# Big.
defaults:
  - override /submit: slurm
submit:
  nodes: 2
"""


def test_a_preset_that_submits_does_not_make_the_job_submit_again(tmp_path):
    preset = tmp_path / "mine" / "experiment" / "big.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text(PRESET)
    run_overrides("train", ["experiment=big", "name=a"], config_dir="mine")
    job = tmp_path / "runs" / "a" / "job.sbatch"
    assert "#SBATCH --nodes=2" in job.read_text()
    words = [word for word in command_of(job) if not word.startswith("--")]
    assert not is_submission(compose("train", words, config_dir="mine"))


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("name='run (1)'", "run (1)"),
        ('name="it\'s, [so]"', "it's, [so]"),
        ("name='123'", "123"),
        ("name=plain", "plain"),
        ("name=seed-${seed}", "seed-0"),
        (r"name='a\'s ${seed}'", "a's 0"),
    ],
)
def test_the_job_has_the_name_that_was_given(word, name, tmp_path):
    train(["submit=slurm", "seed=0", word])
    words = command_of(tmp_path / "runs" / name / "job.sbatch")
    assert compose("train", words)["name"] == name
    assert not any("${" in given for given in words)


def test_what_the_user_waits_for_is_joined_with_earlier_jobs_of_the_run(tmp_path):
    train(["submit=slurm", "name=a", "submit.options.dependency='afterok:12,after:3'"])
    text = (tmp_path / "runs" / "a" / "job.sbatch").read_text()
    assert text.count("--dependency=") == 1
    assert "#SBATCH --dependency=afterok:12,after:3,singleton" in text
    train(["submit=slurm", "name=a", "submit.options.dependency=singleton"])
    text = (tmp_path / "runs" / "a" / "job.sbatch").read_text()
    assert "--dependency=singleton " in text


def test_the_log_of_a_name_with_a_percent_sign_lies_in_the_runs_folder(tmp_path):
    train(["submit=slurm", "name='50%j $x'"])
    text = (tmp_path / "runs" / "50%j $x" / "job.sbatch").read_text()
    assert '#SBATCH --output="runs/50%%j $x/slurm-%j.log"\n' in text
    assert '#SBATCH --job-name="50%j $x"\n' in text
    assert r"To go on: sbatch 'runs/50%j \$x/job.sbatch'" in text


def test_the_job_begins_where_it_was_submitted_with_this_environment(tmp_path):
    train(["submit=slurm", "name=a"])
    text = (tmp_path / "runs" / "a" / "job.sbatch").read_text()
    assert f"#SBATCH --chdir={tmp_path}" in text
    assert "#SBATCH --dependency=singleton" in text
    assert "#SBATCH --job-name=a\n" in text
    assert "run_dir=runs/a\n" in text
    activate = f"source {sys.prefix}/bin/activate"
    assert activate in text or "export PATH=" in text
    train(["submit=slurm", "name=a", 'submit.setup=["module load cuda","source env"]'])
    assert (
        "\nmodule load cuda\nsource env\n"
        in (tmp_path / "runs" / "a" / "job.sbatch").read_text()
    )


def test_own_config_folders_go_with_the_job(tmp_path):
    mine = tmp_path / "mine" / "optim"
    mine.mkdir(parents=True)
    (mine / "slow.yaml").write_text("# Slow.\ndefaults: [adam]\nlr: 1.0e-5\n")
    words = ["submit=slurm", "optim=slow", "name=a"]
    run_overrides("train", words, config_dir="mine")
    job = tmp_path / "runs" / "a" / "job.sbatch"
    assert f"--config-dir={tmp_path / 'mine'}" in command_of(job)
    said = call("--config-dir", "mine", *words[:2], "name=b", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    assert command_of(tmp_path / "runs" / "b" / "job.sbatch")[:2] == [
        f"--config-dir={tmp_path / 'mine'}",
        "optim=slow",
    ]


def test_more_workers_than_cores_are_noticed(capsys):
    train(["submit=slurm", "data.num_workers=8"])
    assert "submit.cpus_per_task=9" in capsys.readouterr().out
    train(["submit=slurm", "data.num_workers=4"])
    assert "note:" not in capsys.readouterr().out


def test_the_batch_of_each_rank_is_multiplied(capsys):
    train(["submit=slurm", "submit.nodes=8", "data.batch_size_per_rank=16"])
    assert "16 frames a rank = 512 in the global batch" in capsys.readouterr().out


def fake_sbatch(folder, body):
    folder.mkdir()
    sbatch = folder / "sbatch"
    sbatch.write_text(f"#!/bin/bash\n{body}\n")
    sbatch.chmod(sbatch.stat().st_mode | stat.S_IXUSR)


def test_it_is_sent_only_if_asked_for(tmp_path, monkeypatch, capsys):
    fake_sbatch(tmp_path / "bin", 'echo "$@" > sent; echo "4711;cluster"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    train(["submit=slurm", "name=a"])
    assert not (tmp_path / "sent").exists()
    assert train(["submit=slurm", "name=a", "submit.send=true"])["job"] == "4711"
    assert (tmp_path / "sent").read_text() == "--parsable runs/a/job.sbatch\n"
    assert "squeue -j 4711" in capsys.readouterr().out


def test_a_refusal_of_sbatch_is_passed_on(tmp_path, monkeypatch):
    fake_sbatch(tmp_path / "bin", "echo 'invalid partition specified: x' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(ValueError, match=r"invalid partition specified: x\. Change submit"):
        train(["submit=slurm", "submit.send=true"])


def test_without_sbatch_the_file_is_there_and_the_message_says_so(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(
        ValueError, match=r"no sbatch on this machine; runs/a/job.sbatch is"
    ):
        train(["submit=slurm", "submit.send=true", "name=a"])
    assert (tmp_path / "runs" / "a" / "job.sbatch").is_file()


def call(*words, cwd):
    code = "from mace_train.cli.train import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=cwd, capture_output=True, text=True
    )


def test_the_command_answers_without_torch(tmp_path):
    code = (
        "import sys; from mace_train.cli.train import main; main();"
        "assert not {'torch', 'lightning'} & set(sys.modules)"
    )
    words = ["submit=slurm", "submit.options.mail-type=END", "data.train=sample", "name=a"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    job = tmp_path / "runs" / "a" / "job.sbatch"
    assert "#SBATCH --mail-type=END" in job.read_text()
    words = ["data.train=sample", "trainer=slurm", "name=a", "submit=none"]
    assert command_of(job) == words
    assert "+" not in job.read_text().splitlines()[1]


def test_a_sweep_makes_a_job_of_each_run(tmp_path):
    done = call("-m", "submit=slurm", "seed=1,2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    jobs = sorted(tmp_path.glob("runs/*/job.sbatch"))
    assert sorted(command_of(job)[0] for job in jobs) == ["seed=1", "seed=2"]


def test_only_the_first_rank_submits(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert train(["submit=slurm", "name=a"]) == {}
    assert not (tmp_path / "runs").exists()


def test_the_config_of_a_job_is_given_as_it_was_checked(tmp_path):
    config = compose("train", ["submit=slurm", "name=a", "submit.script=here.sbatch"])
    assert submit(config, ["submit=slurm"])["script"] == "here.sbatch"
    assert (tmp_path / "here.sbatch").is_file()
