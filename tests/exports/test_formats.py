from mace_train.cli.help import help_text
from mace_train.cli.schema import root_schema
from mace_train.exports.formats import FORMATS


def test_the_formats_are_those_that_the_command_takes():
    allowed = root_schema("export").fields["format"].choices
    assert set(FORMATS) == set(allowed)
    assert all(name == form.name for name, form in FORMATS.items())


def test_help_tells_of_every_format():
    text = help_text("export")
    for form in FORMATS.values():
        assert f"\n  {form.name} " in text
        assert form.suffix in text


def test_every_format_says_how_its_file_is_used():
    for form in FORMATS.values():
        assert form.suffix.startswith(".")
        assert "PATH" in form.next_step
