import resource
import subprocess
import sys

import pytest

from mace_train.cli.help import help_text
from mace_train.cli.schema import read_target, root_schema


def test_help_lists_groups_keys_and_examples():
    text = help_text("train")
    assert (
        "mace_mp_0b3 | mace_mp_large | mace_mp_medium | mace_mp_small | mace_tiny" in text
    )
    assert text.count("\n    mace-train ") >= 4
    assert "--config-dir" in text


def test_help_knows_the_groups_of_the_user_s_folder(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").touch()
    for words in (["--config-dir", str(tmp_path)], [f"--config-dir={tmp_path}"]):
        assert "mine" in help_text("train", ["--help", *words])


@pytest.mark.parametrize("command", ["train", "prepare", "evaluate", "export", "check"])
def test_every_command_has_three_examples(command):
    text = help_text(command)
    assert text.count(f"\n    mace-{command} ") >= 4


def test_keys_that_help_names_exist():
    keys = set(root_schema("train").fields)
    assert {"name", "run_dir", "seed", "dtype", "resume", "init_from"} <= keys
    data = read_target("mace_train.training.datamodule.MACEDataModule").fields
    text = help_text("train").split("Keys used most")[1].split("model.hidden_irreps")[0]
    before, tuning = text.split("finetune.method", 1)
    tuning, after = tuning.split("data.replay", 1)
    assert _keys_in(before + after) <= set(data)
    settings = read_target("mace_train.finetuning.settings.FineTuning").fields
    assert {"committee", "trainable"} <= _keys_in(tuning) <= set(settings)


def _keys_in(text):
    words = {word.strip(",.;()") for word in text.split() if word.startswith(".")}
    return {word for word in words if word and "." not in word}


def test_help_is_there_at_once():
    code = "import sys; sys.argv = ['mace-train', '--help']\n"
    code += "from mace_train.cli.train import main; main()\n"
    code += (
        "assert not {'torch', 'lightning', 'ase', 'hydra', 'numpy'} & set(sys.modules)\n"
    )
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "mace_tiny" in done.stdout
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    assert seconds < 0.5, "processor time, whatever else the machine does"
