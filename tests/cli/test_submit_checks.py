import pytest

from mace_train.cli.config import compose
from mace_train.cli.problems import ConfigError
from mace_train.cli.submit_checks import seconds_of


def problems(*overrides):
    with pytest.raises(ConfigError) as refused:
        compose("train", ["submit=slurm", *overrides])
    return {problem.key: problem.message for problem in refused.value.problems}


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("00:30:00", 1800),
        ("24:00:00", 86400),
        ("2-12:00:05", 216005),
        ("120:00:00", 432000),
        ("90", None),
        ("90:00", None),
        ("1-12", None),
        ("00:99:00", None),
        ("soon", None),
    ],
)
def test_times_of_slurm(time, seconds):
    assert seconds_of(time) == seconds


def test_a_job_as_it_should_be_passes():
    config = compose("train", ["submit=slurm", "submit.nodes=2", "submit.time=2-12:00:00"])
    assert config["submit"]["nodes"] == 2
    assert compose("train")["name"] == compose("train", ["submit=slurm"])["name"]


def test_all_that_is_wrong_is_said_at_once():
    found = problems(
        "submit.nodes=0",
        "submit.time=90:00",
        "submit.mem=much",
        "submit.options.array=1-3",
        "submit.options.qos=false",
        "submit.tasks_per_node=3",
        "submit.partitoin=gpu",
    )
    assert set(found) == {
        "submit.nodes",
        "submit.time",
        "submit.mem",
        "submit.options.array",
        "submit.options.qos",
        "submit.tasks_per_node",
        "submit.partitoin",
    }
    assert "D-HH:MM:SS" in found["submit.time"]
    assert "3 tasks for 4 GPUs" in found["submit.tasks_per_node"]
    assert "did you mean" in found["submit.partitoin"]


def test_options_that_would_break_the_files_own_are_refused():
    own = ["output", "job-name", "open-mode", "chdir"]
    found = problems(*(f"submit.options.{name}=x" for name in own))
    assert set(found) == {f"submit.options.{name}" for name in own}
    assert "--job-name is set by name" in found["submit.options.job-name"]
    found = problems("submit.options.dependency=afterok:1?afterok:2")
    assert "joined with singleton" in found["submit.options.dependency"]
    assert problems("submit.options.dependency=true")


@pytest.mark.parametrize("text", ['"', "\n", "\\"], ids=["quote", "newline", "backslash"])
def test_texts_that_an_sbatch_file_cannot_carry_are_refused(text):
    keys = ["name", "submit.partition", "submit.account", "submit.options.comment"]
    for key in [*keys, "run_dir"]:
        found = problems(f"{key}='a{text}b'")
        assert key in found
    assert compose("train", [f"name='a{text}b'"])["name"] == f"a{text}b"


def test_a_signal_must_come_after_the_start():
    found = problems("submit.time=00:02:00")
    assert "has 120 s" in found["submit.signal_seconds"]


def test_devices_that_would_be_idle_or_absent_are_refused():
    assert (
        "stand idle" in problems("trainer=cpu", "trainer.devices=4")["submit.gpus_per_node"]
    )
    found = problems("trainer=gpu", "trainer.devices=1", "submit.gpus_per_node=0")
    assert "trainer.accelerator=gpu" in found["submit.gpus_per_node"]
    with_gres = ["submit.gpus_per_node=0", "submit.options.gres=gpu:4"]
    tasks = ["submit.tasks_per_node=4", "trainer.accelerator=gpu"]
    assert compose("train", ["submit=slurm", *with_gres, *tasks])


def test_the_trainer_must_ask_for_what_the_job_starts():
    found = problems("trainer.devices=2", "trainer.num_nodes=3", "submit.nodes=2")
    assert "2, but the job has 4 tasks on each node" in found["trainer.devices"]
    assert "3, but the job has 2 nodes" in found["trainer.num_nodes"]
    assert "srun" in problems("trainer.launcher=torchrun")["trainer.launcher"]


def test_fewer_frames_than_ranks_are_refused():
    found = problems("submit.nodes=4", "data.batch_size=8")
    assert "would leave 8 of them idle" in found["data.batch_size"]


def test_without_a_job_its_keys_are_not_looked_at():
    assert compose("train", ["trainer.devices=3", "resume=never"])
