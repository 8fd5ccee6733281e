"""Every link between the documents of this repository leads to a file or a heading in it.

The site is checked by `make docs`; these are the files as a code-hosting site shows them.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "data/**/*.md", "benchmarks/**/*.md")
    for path in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
BARE = re.compile(
    r"(?<![\w./-])(?:docs|benchmarks/results|scripts|examples)/[\w./-]*\.(?:md|py|sh|sbatch)"
)


def text_of(path):
    """Without blocks of code between fences."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def broken_links(path, text):
    for link in LINK.findall(text):
        file, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (path.parent / file).resolve() if file else path
        is_there = target.is_file() and target.is_relative_to(ROOT)
        if not is_there or (anchor and anchor not in anchors(text_of(target))):
            yield link


def anchors(text):
    """Those that code-hosting sites, and our site, give to headings."""
    found = set()
    for heading in re.findall(r"^#+ +(.*)$", text, flags=re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "]", heading).lower())
        found.add(words.strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path):
    assert list(broken_links(path, text_of(path))) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_are_named_without_a_link_exist(path):
    named = BARE.findall(text_of(path))
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_a_broken_link_is_found():
    readme = ROOT / "README.md"
    text = "[a](docs/finetune.md) [b](docs/absent.md) [c](#measured) [d](#absent) [e](https://x.y)"
    assert list(broken_links(readme, text)) == ["docs/absent.md", "#absent"]


def test_there_are_documents_to_check():
    names = {str(path.relative_to(ROOT)) for path in FILES}
    assert {"README.md", "CONTRIBUTING.md", "docs/index.md", "data/README.md"} <= names
