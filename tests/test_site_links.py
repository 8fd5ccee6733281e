"""The site takes in what its pages link to outside docs/; a broken link ends its build."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def site_links(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import site_links

    return site_links


def build(repository):
    """Build the site of a repository as `make docs` does; exit code and what was said."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=repository, env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stderr


@pytest.fixture
def repository(tmp_path):
    pytest.importorskip("mkdocs", reason="the site needs mkdocs-material")
    (tmp_path / "docs").mkdir()
    (tmp_path / "scripts").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# One\n\n[two](../other/two.md#two)\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "two.md").write_text(
        "# Two\n\n[one](../docs/index.md) ![](a.png)\n"
    )
    (tmp_path / "other" / "a.png").write_bytes(b"figure")
    shutil.copy(ROOT / "scripts" / "site_links.py", tmp_path / "scripts")
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:")[0]
    (tmp_path / "mkdocs.yml").write_text(f"{settings}\nnav:\n  - index.md\n")
    return tmp_path


def test_files_outside_docs_become_part_of_the_site(repository):
    code, said = build(repository)
    assert code == 0, said
    outside = repository / "site" / "repository" / "other"
    assert 'href="../../index.html"' in (outside / "two.html").read_text()
    assert (outside / "a.png").read_bytes() == b"figure"
    page = (repository / "site" / "index.html").read_text()
    assert 'href="repository/other/two.html#two"' in page


@pytest.mark.parametrize(
    "link", ["absent.md", "../absent.md", "../other/two.md#absent", "#no"]
)
def test_a_broken_link_ends_the_build(repository, link):
    (repository / "docs" / "index.md").write_text(f"# One\n\n[it]({link})\n")
    code, said = build(repository)
    assert code != 0
    assert "index.md" in said


def test_a_page_without_a_place_in_the_navigation_ends_the_build(repository):
    (repository / "docs" / "lost.md").write_text("# Lost\n")
    code, said = build(repository)
    assert code != 0
    assert "lost.md" in said


def test_pages_ask_no_other_server_for_anything(repository):
    assert build(repository)[0] == 0
    page = (repository / "site" / "index.html").read_text()
    assert 'src="http' not in page
    assert 'rel="stylesheet" href="http' not in page
    assert "fonts.g" not in page


def test_links_are_rewritten_from_any_depth(site_links):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="reference/one.md"))
    text = "[a](../../data/README.md#x) [b](../two.md) [c](https://x.y/z) [d](#here)"
    moved = site_links.on_page_markdown(text, page=page)
    assert moved == (
        "[a](../repository/data/README.md#x) [b](../two.md) [c](https://x.y/z) [d](#here)"
    )
