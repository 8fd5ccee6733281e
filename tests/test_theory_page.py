"""docs/theory.md and the docstrings that cite equations lead to each other."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
SOURCES = sorted((ROOT / "mace_train").rglob("*.py"))
CITATION = re.compile(r"(?:arXiv:|doi:)[\w./-]*\w")
CODE = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)


def cited():
    return sorted(
        {
            (path.name, name)
            for path in SOURCES
            for name in CITATION.findall(path.read_text())
        }
    )


@pytest.mark.parametrize(("file", "citation"), cited())
def test_what_the_code_cites_is_on_the_page(file, citation):
    assert citation.removeprefix("arXiv:") in PAGE, f"{file} cites {citation}"


def equations(text):
    pairs = re.findall(r"Eq\. (\w+)(?: and (\d+))?", text)
    return {number for pair in pairs for number in pair if number}


def test_every_equation_that_a_docstring_cites_is_on_the_page():
    assert {"8", "10", "11"} <= equations(CODE) <= equations(PAGE)


def test_what_the_page_names_is_in_the_code():
    choices = {path.stem for path in (ROOT / "configs").rglob("*.yaml")}
    names = set(re.findall(r"`([A-Za-z]\w+)`", PAGE)) - choices
    assert len(names) > 30
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", CODE)] == []


def test_files_that_the_page_names_exist():
    files = {path.name for path in SOURCES}
    assert set(re.findall(r"`(\w+\.py)`", PAGE)) <= files
