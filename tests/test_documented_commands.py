"""Every command line in the documents is one that the program takes."""

import re
import shlex
from pathlib import Path

import pytest

from mace_train.cli.config import compose
from mace_train.cli.problems import ConfigError

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "data" / "README.md"]
COMMAND = re.compile(r"^ {4}(?:[\w./= -]*--no-python +)?mace-(\w+)(?: +(.*))?$")
WITHOUT_FILES = re.compile(r"does not exist|is no file")
"""Problems that files, which are not there, make."""


def commands():
    for path in sorted(PAGES):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for number, line in enumerate(text.splitlines(), start=1):
            if found := COMMAND.match(line.split("  #")[0].rstrip()):
                place = f"{path.relative_to(ROOT)}:{number}"
                yield pytest.param(
                    found[1], shlex.split(found[2] or "", comments=True), id=place
                )


def problems(command, words):
    """What is wrong with a command, but for files that are not there."""
    try:
        compose(command, words)
    except ConfigError as error:
        told = [str(problem) for problem in error.problems]
        return [text for text in told if not WITHOUT_FILES.search(text)]
    return []


@pytest.mark.parametrize(("command", "words"), list(commands()))
def test_a_documented_command_lacks_nothing_but_files(
    command, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    is_left_out = {"...", "--cfg", "job", "--help", "-m"}
    given = [word for word in words if word not in is_left_out]
    assert problems(command, given) == []


def test_a_wrong_command_is_found():
    assert len(problems("train", ["optim.lrate=0.005", "loss=hubber", "init_from=a"])) == 2


def test_there_are_many_commands():
    found = [param.values[0] for param in commands()]
    assert len(found) > 30
    assert set(found) == {"train", "prepare", "evaluate", "check", "export"}
