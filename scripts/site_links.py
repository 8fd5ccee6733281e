"""Takes files outside docs/ that its pages link to into the site (a hook of mkdocs).

A page of docs/ links to ``../benchmarks/results/step.md`` as a code-hosting site shows it.
Such files, and those that these link to in turn, get the address ``repository/...`` here;
Markdown becomes pages, everything else is copied. Links are rewritten on the way.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

OUTSIDE = "repository/"
_LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=[)#])")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what pages link to; `nav` may name such files as well."""
    from mkdocs.structure.files import File

    root = Path(config.docs_dir).parent
    wanted = [_of_repository(uri) for uri in _named(config.nav)]
    known = {f.src_uri for f in files}
    for file in list(files.documentation_pages()):
        wanted += _linked(_of_repository(file.src_uri), file.content_string)
    while wanted:
        path = wanted.pop()
        uri = _of_site(path)
        if not uri.startswith(OUTSIDE) or uri in known or not (root / path).is_file():
            continue  # what does not exist is reported by mkdocs
        known.add(uri)
        file = File.generated(config, uri, abs_src_path=str(root / path))
        files.append(file)
        if path.endswith(".md"):
            wanted += _linked(path, file.content_string)
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Let links to files outside docs/ lead to their place in the site."""
    here = posixpath.dirname(page.file.src_uri)
    origin = posixpath.dirname(_of_repository(page.file.src_uri))

    def moved(match: re.Match[str]) -> str:
        link = match.group(1)
        if _is_elsewhere(link):
            return link
        target = _of_site(posixpath.normpath(posixpath.join(origin, link)))
        return posixpath.relpath(target, here or ".")

    return _LINK.sub(moved, markdown)


def _linked(path: str, markdown: str) -> Iterator[str]:
    """Paths in the repository that a file of it links to."""
    for link in _LINK.findall(markdown):
        if not _is_elsewhere(link):
            yield posixpath.normpath(posixpath.join(posixpath.dirname(path), link))


def _named(nav: Any) -> Iterator[str]:
    """Files outside docs/ that the navigation names."""
    if isinstance(nav, str):
        if nav.startswith(OUTSIDE):
            yield nav
    elif isinstance(nav, dict):
        yield from _named(list(nav.values()))
    else:
        for item in nav or ():
            yield from _named(item)


def _is_elsewhere(link: str) -> bool:
    return ":" in link or link.startswith("/")


def _of_repository(uri: str) -> str:
    """Path in the repository of a file of the site."""
    return uri[len(OUTSIDE) :] if uri.startswith(OUTSIDE) else f"docs/{uri}"


def _of_site(path: str) -> str:
    """Place in the site of a file of the repository."""
    return path[len("docs/") :] if path.startswith("docs/") else OUTSIDE + path
