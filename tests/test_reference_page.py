"""docs/reference/configuration.md says what the schema says, and of every key."""

from pathlib import Path

import pytest

from mace_train.cli.schema import read_target, root_schema
from mace_train.cli.values import Choice, ListOf, Scalar, Union

ROOT = Path(__file__).parents[1]


@pytest.fixture
def reference(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import make_reference

    return make_reference


def test_the_page_is_what_the_code_says(reference):
    written = reference.PAGE.read_text(encoding="utf-8")
    assert written == reference.reference(), (
        "run `make reference` and look at the difference"
    )


def test_every_key_of_every_command_is_on_the_page(reference):
    page = reference.PAGE.read_text(encoding="utf-8")
    parts = dict(zip(reference.COMMANDS, page.split("\n## ")[1:], strict=True))
    for command, part in parts.items():
        assert part.startswith(f"mace-{command}\n")
        for key, kind in root_schema(command).fields.items():
            is_group = getattr(kind, "any_target", False) or getattr(kind, "fields", None)
            assert (
                f"`{key}." if is_group else f"`{key}`"
            ) in part or f"### {key}\n" in part


@pytest.mark.parametrize(
    ("group", "target"),
    [
        ("data", "mace_train.training.datamodule.MACEDataModule"),
        ("finetune", "mace_train.finetuning.settings.FineTuning"),
        ("loss", "mace_train.training.loss.UniversalLoss"),
        ("submit", "mace_train.cli.slurm_job.SlurmJob"),
    ],
)
def test_every_argument_is_told_with_its_meaning(reference, group, target):
    page = reference.PAGE.read_text(encoding="utf-8").split("\n## mace-prepare")[0]
    rows = {line.split(" | ")[0]: line for line in page.splitlines() if line[:3] == "| `"}
    for key in read_target(target).fields:
        found = [row for name, row in rows.items() if name.startswith(f"| `{group}.{key}")]
        assert found, key
        is_plain = f"| `{group}.{key}`" in rows
        assert not is_plain or rows[f"| `{group}.{key}`"].split(" | ")[-1].strip(" |"), key


def test_allowed_values_are_described_in_words(reference):
    kind = Union((Choice(("auto", None)), Scalar(int)))
    assert reference.describe(kind) == "`auto`, `null` or an integer"
    texts = Union((Scalar(str), ListOf(Union((Scalar(str),)))))
    assert reference.describe(texts) == "a text or a list of these"


def test_comments_beside_keys_are_found(reference, tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text(
        "# What it is for.\n"
        "_target_: a.B\n"
        "outer:          # of the group\n"
        "  inner: 1      # of the key,\n"
        "                # and more\n"
        "text: '#no'\n"
    )
    file = reference.read_config(path)
    assert file.header == ["What it is for."]
    assert file.notes == {"outer": "of the group", "outer.inner": "of the key, and more"}
    assert file.values["text"] == "#no"
