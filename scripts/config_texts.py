"""What configs/ and the docstrings say of a key; serves scripts/make_reference.py."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mace_train.cli.source_modules import SourceModule, read_module


@dataclass
class ConfigFile:
    """A YAML file of configs/ with what it inherits from others of its group.

    Attributes:
        name: Of the choice.
        header: The comment at its top.
        values: All its keys.
        own: Those that it sets itself.
        notes: Comments beside keys, by dotted key.
        parent: Name of the choice that it changes, or nothing.
    """

    name: str
    header: list[str]
    values: dict[str, Any]
    own: dict[str, Any]
    notes: dict[str, str]
    parent: str = ""

    @property
    def target(self) -> str:
        """Dotted path of the constructor, or nothing."""
        return self.values.get("_target_", "")


@dataclass
class Docs:
    """What the code says of a constructor: its first line, and a text for each argument."""

    summary: str = ""
    arguments: dict[str, str] = field(default_factory=dict)


def read_docs(target: str) -> Docs:
    """Docstring of the class at a dotted path, with the arguments of those it inherits."""
    module_name, _, name = target.rpartition(".")
    module = read_module(module_name)
    found = module.find(name) if module else None
    assert found, target
    assert isinstance(found[1], ast.ClassDef), target
    return _class_docs(found[1], found[0])


def _class_docs(node: ast.ClassDef, module: SourceModule) -> Docs:
    docs = Docs()
    for base in node.bases:
        found = module.find(ast.unparse(base))
        if found and isinstance(found[1], ast.ClassDef):
            docs.arguments |= _class_docs(found[1], found[0]).arguments
    text = ast.get_docstring(node) or ""
    docs.summary = text.split("\n\n")[0].replace("\n", " ").replace("``", "`")
    section = re.search(r"^(?:Args|Attributes):\n((?:[ ]+.*\n?|\n)*)", text, re.MULTILINE)
    for match in re.finditer(
        r"^    (\w+): (.*(?:\n     .*)*)", section.group(1) if section else "", re.MULTILINE
    ):
        told = re.sub(r"\s+", " ", match.group(2)).replace("``", "`")
        told = re.sub(r"\bNone\b", "`null`", told)  # as YAML has it
        docs.arguments[match.group(1)] = told
    return docs


def read_config(path: Path) -> ConfigFile:
    """A file of configs/ with what it inherits from another of its folder."""
    text = path.read_text(encoding="utf-8")
    own = yaml.safe_load(text)
    header = [line for line in _header(text) if not line.startswith("@package")]
    notes = dict(_notes(text))
    defaults = own.pop("defaults", [])
    parent = next((d for d in defaults if isinstance(d, str) and d != "_self_"), "")
    values: dict[str, Any] = dict(own)
    if parent:
        base = read_config(path.with_name(f"{parent}.yaml"))
        values, notes = {**base.values, **own}, {**base.notes, **notes}
    return ConfigFile(path.stem, header, values, own, notes, parent)


def part_of(config: ConfigFile, key: str) -> ConfigFile:
    """A constructor that stands in the command's own file."""
    start = f"{key}."
    notes = {k[len(start) :]: v for k, v in config.notes.items() if k.startswith(start)}
    return ConfigFile("", [], config.values[key], config.values[key], notes)


def _header(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        yield line.removeprefix("#").removeprefix(" ")


def _notes(text: str) -> Iterator[tuple[str, str]]:
    """Comments beside keys; lines of comment alone, further right, go on with the last."""
    path: list[tuple[int, str]] = []
    key = note = ""
    for line in text.splitlines():
        if match := re.match(r"( *)(\w+):(.*)", line):
            if note:
                yield key, note
            indent = len(match.group(1))
            path = [(i, name) for i, name in path if i < indent] + [
                (indent, match.group(2))
            ]
            key = ".".join(name for _, name in path)
            found = re.search(r"(?:^|\s)#\s+(.*)", match.group(3))
            note = found.group(1) if found else ""
        elif note and (match := re.match(r" {8,}# (.*)", line)):
            note += " " + match.group(1)
    if note:
        yield key, note
