"""Write docs/reference/configuration.md: every key of every command, from the code itself.

    python scripts/make_reference.py           # `make reference`

Types and allowed values are the schema's (`mace_train.cli.schema`), meanings are the lines
of the constructors' docstrings and the comments in configs/, defaults those of configs/.
tests/test_reference_page.py fails if the page is not what this file writes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from config_texts import ConfigFile, Docs, part_of, read_config, read_docs

from mace_train.cli.schema import read_target, root_schema
from mace_train.cli.values import Choice, Group, ListOf, MappingOf, Scalar, Union

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
PAGE = ROOT / "docs" / "reference" / "configuration.md"
COMMANDS = ("train", "prepare", "evaluate", "check", "export")
HEAD = """# Configuration reference

<!-- Written by scripts/make_reference.py (make reference) from the code: do not edit. -->

Every key of every command. On the command line: `key=value`, nested keys with dots
(`optim.lr=0.005`), another file of a group by its name (`loss=huber`). `null` is nothing,
`${...}` the value of another key, **required** has to be given. Keys that do not exist and
values that are not allowed are refused before anything starts. `mace-train --help` lists
the groups, `mace-train ... --cfg job` prints the whole configuration without running it.
Whole files with all comments are in `configs/`; files of your own are added with
`--config-dir FOLDER`.
"""

Kind = Union | Group


def reference() -> str:
    """The page."""
    parts = [HEAD]
    for command in COMMANDS:
        parts += _command(command)
    return "\n".join(parts).rstrip() + "\n"


def _command(command: str) -> Iterator[str]:
    config = read_config(CONFIGS / f"{command}.yaml")
    schema = root_schema(command)
    yield f"## mace-{command}\n"
    yield _prose(config.header) + "\n"
    plain = {k: v for k, v in schema.fields.items() if not _is_constructed(v)}
    yield _table(plain, config, Docs())
    for key, kind in schema.fields.items():
        if not _is_constructed(kind):
            continue
        if (CONFIGS / key).is_dir():
            yield from _group(key, _default_choice(command, key))
        else:
            inner = part_of(config, key)
            yield from _constructor(key, read_docs(inner.target), [inner])
    if command == "train":
        yield from _recipes_and_experiments()


def _group(group: str, default: str) -> Iterator[str]:
    """A group of configs/: its choices, and a table for each constructor they name."""
    files = {f.name: f for f in map(read_config, sorted((CONFIGS / group).glob("*.yaml")))}
    yield f"### {group}\n"
    for file in files.values():
        told = _prose(file.header)
        changed = "; ".join(f"`{k}: {_shown(v)}`" for k, v in _leaves(file.own))
        inherits = f" As `{file.parent}`, but {changed}." if file.parent else ""
        mark = " (default)" if file.name == default else ""
        yield f"- `{group}={file.name}`{mark}: {told}{inherits}"
    yield ""
    targets = dict.fromkeys(file.target for file in files.values())
    for target in targets:
        of_target = [file for file in files.values() if file.target == target]
        of_target.sort(key=lambda file: (bool(file.parent), file.name))
        yield from _constructor(
            group, read_docs(target), of_target, several=len(targets) > 1
        )


def _constructor(
    group: str, docs: Docs, files: list[ConfigFile], *, several: bool = False
) -> Iterator[str]:
    """The arguments of one constructor, with the defaults of the first file."""
    schema = read_target(files[0].target)
    assert schema is not None, files[0].target
    name = files[0].target.rpartition(".")[2]
    if not several and not (CONFIGS / group).is_dir():
        yield f"### {group}\n"
    if several and not schema.fields:
        return
    choices = ", ".join(f"`{group}={file.name}`" for file in files if file.name)
    yield f"**`{name}`**" + (f" ({choices})" if several else "") + f": {docs.summary}\n"
    if schema.fields:
        yield _table(schema.fields, files[0], docs, prefix=f"{group}.")
    sets = schema.fields.get("train")
    if isinstance(sets, Union) and sets.item and sets.item.group:
        yield "Keys of a set in `data.train` and its like; only `path` is needed:\n"
        rows = [f"- `{k}`: {describe(v)}" for k, v in _flat(sets.item.group.fields)]
        yield "\n".join(rows) + "\n"


def _recipes_and_experiments() -> Iterator[str]:
    yield "### recipe=\n"
    yield "Taken by itself with the model of the same name; each sets keys `recipe.*`.\n"
    for path in sorted((CONFIGS / "recipe").glob("*.yaml")):
        file = read_config(path)
        values = ", ".join(f"`{k}: {_shown(v)}`" for k, v in _leaves(file.own))
        yield f"- `{file.name}`: {_prose(file.header)} {values}"
    yield "\n### experiment=\n"
    yield "Whole settings under one name; each is a set of overrides.\n"
    for path in sorted((CONFIGS / "experiment").glob("*.yaml")):
        file = read_config(path)
        yield f"- `experiment={file.name}`: {_prose(file.header)}"
    yield ""


def _table(
    fields: dict[str, Kind], config: ConfigFile, docs: Docs, *, prefix: str = ""
) -> str:
    """Key, allowed values, default and meaning."""
    lines = ["| key | allowed | default | |", "|---|---|---|---|"]
    for key, kind in _flat(fields):
        default = _find(config.values, key)
        shown = "**required**" if default == "???" else f"`{_shown(default)}`"
        meaning = _meaning(docs.arguments.get(key, ""), config.notes.get(key, ""))
        cells = (f"`{prefix}{key}`", describe(kind), shown, meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _flat(fields: dict[str, Kind], prefix: str = "") -> Iterator[tuple[str, Kind]]:
    """Dotted keys; groups with known keys are opened."""
    for name, kind in fields.items():
        group = kind if isinstance(kind, Group) else kind.group
        if group and group.fields and (isinstance(kind, Group) or len(kind.kinds) == 1):
            yield from _flat(group.fields, f"{prefix}{name}.")
        else:
            yield prefix + name, kind


def describe(kind: object) -> str:
    """What a value may be, as Markdown without vertical bars.

    >>> describe(Union((Choice(("a", "b", None)), Scalar(int))))
    '`a`, `b`, `null` or an integer'
    """
    parts: list[str] = []
    for one in kind.kinds if isinstance(kind, Union) else (kind,):
        parts += [part for part in _options(one, parts) if part not in parts]
    return ", ".join(parts[:-1]) + " or " + parts[-1] if len(parts) > 1 else parts[0]


def _options(kind: object, others: list[str]) -> list[str]:
    if isinstance(kind, Choice):
        return [f"`{_shown(value)}`" for value in kind.values]
    if isinstance(kind, ListOf):
        if len(kind.item.kinds) == 1 and set(_options(kind.item.kinds[0], [])) <= set(
            others
        ):
            return ["a list of these"]
        length = "" if kind.length is None else f"{kind.length} values, "
        return [f"a list ({length}each {describe(kind.item)})"]
    if isinstance(kind, MappingOf):
        return [f"`{{NAME: ...}}` (each {describe(kind.item)})"]
    if isinstance(kind, Group):
        return ["a set (below)" if "path" in kind.fields else "a group"]
    assert isinstance(kind, Scalar) or str(kind) == "anything", kind
    return [str(kind)]


def _meaning(argument: str, note: str) -> str:
    """The docstring's text, and the comment in configs/ where it says something else."""
    if not argument or not note:
        return argument or note
    said, noted = (set(re.findall(r"\w+", text.lower())) for text in (argument, note))
    return argument if noted <= said else f"{argument}<br>*{note}*"


def _prose(lines: list[str]) -> str:
    """A header as one paragraph; indented command lines become code."""
    text = ""
    for line in lines:
        stripped = line.strip()
        text += f" `{stripped}`" if line.startswith("  ") else f" {stripped}"
    return text.strip()


def _default_choice(command: str, group: str) -> str:
    listed = yaml.safe_load((CONFIGS / f"{command}.yaml").read_text(encoding="utf-8"))
    for item in listed["defaults"]:
        if isinstance(item, dict) and group in item:
            return str(item[group])
    return ""


def _is_constructed(kind: Kind) -> bool:
    return isinstance(kind, Group) and kind.any_target


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        elif key != "_target_":
            yield prefix + key, value


def _find(values: dict[str, Any], key: str) -> Any:
    """The value at a dotted key; what is behind an interpolation is shown as that."""
    found: Any = values
    for part in key.split("."):
        if not isinstance(found, dict):
            break
        found = found.get(part)
    return found


def _shown(value: Any) -> str:
    """A value as it is written in YAML, on one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value:
        return f"{value:g}" if 1e-4 <= abs(value) < 1e6 and value % 1 else repr(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.removesuffix("...\n").strip()


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(reference(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: written")
