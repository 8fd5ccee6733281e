"""The schema of every config: the annotated signatures of the constructors it names.

Floor 6, the standard library only. Signatures are read from source with `ast`, so that a
config is checked as a whole in milliseconds, before torch or Lightning are imported. A key
that a constructor does not take is unknown, an argument without default that the config
leaves out is missing, and a value must fit the annotation (`Literal`, `Sequence`,
``| None`` and the intervals of `constraints`).
"""

from __future__ import annotations

import ast
import functools
from typing import Any

from mace_train.cli.problems import Problem, nearest
from mace_train.cli.source_modules import SourceModule, read_module
from mace_train.cli.values import (
    MISSING,
    Anything,
    Choice,
    Group,
    ListOf,
    MappingOf,
    Scalar,
    Union,
)
from mace_train.constraints import Interval

RUN_TIME_ARGUMENTS = (
    "atomic_numbers",
    "atomic_energies",
    "avg_num_neighbors",
    "scale",
    "shift",
    "heads",
    "product_basis",
)
"""Arguments of a model that come from the training data, never from a config."""

_ANYTHING = Union((Anything(),))
_SCALARS = {"bool": bool, "int": int, "float": float, "str": str, "Path": str}
_LISTS = {"Sequence", "list", "List"}


def root_schema(config_name: str) -> Group:
    """Schema of a command: the typed dictionary of its name in `cli.keys`."""
    group = read_target(f"mace_train.cli.keys.{config_name.title()}")
    assert group is not None, config_name
    return group


@functools.cache
def read_target(target: str) -> Group | None:
    """Arguments of the class or function at a dotted path; None if there is none."""
    module_name, _, name = target.rpartition(".")
    module = read_module(module_name) if module_name else None
    definition = module and module.find(name)
    if not definition:
        return None
    module, node = definition
    if isinstance(node, ast.ClassDef):
        return _class_arguments(node, module, target)
    if isinstance(node, ast.FunctionDef):
        return _arguments(node, module, target)
    return None


def check_group(key: str, value: Any, group: Group) -> tuple[dict[str, Any], list[Problem]]:
    """Convert a mapping to what its schema says and collect all that is wrong with it.

    Args:
        key: Dotted key of the mapping; empty for a whole config.
        value: Plain values.
        group: What the mapping may hold.
    """
    if not isinstance(value, dict):
        shown = "null" if value is None else repr(value)
        return {}, [Problem(key, f"{shown} is not allowed; allowed: a group of keys")]
    converted: dict[str, Any] = {}
    if group.any_target:
        target = value.get("_target_", MISSING)
        try:
            found = read_target(str(target))
        except SyntaxError as error:
            message = f"{error.filename}, line {error.lineno}: {error.msg}"
            return value, [Problem(f"{key}._target_", message)]
        if found is None:
            message = f"{target!r} is no class or function that can be found"
            return value, [Problem(f"{key}._target_", message)]
        group = found
        converted["_target_"] = target
        value = {name: item for name, item in value.items() if name != "_target_"}
    prefix = f"{key}." if key else ""
    problems: list[Problem] = []
    for name, item in value.items():
        if name not in group.fields:
            hint = nearest(str(name), group.fields)
            what = f"unknown key (value {item!r})"
            problems.append(Problem(f"{prefix}{name}", f"{what} of {group.owner}{hint}"))
            continue
        converted[name], found_here = _check(f"{prefix}{name}", item, group.fields[name])
        problems += found_here
    for name in group.fields:
        if name not in value and name not in group.optional:
            problems.append(
                Problem(f"{prefix}{name}", f"is missing: {group.owner} needs it")
            )
    return converted, problems


def _check(key: str, value: Any, kind: Union | Group) -> tuple[Any, list[Problem]]:
    """Convert a value to its kind; one mapping where a list of them may stand is a list."""
    if isinstance(kind, Group):
        return check_group(key, value, kind)
    if isinstance(value, dict) and kind.group:
        return check_group(key, value, kind.group)
    if kind.item and kind.item.group and isinstance(value, dict):
        converted, problems = check_group(key, value, kind.item.group)
        return [converted], problems
    if kind.item and kind.item.group and isinstance(value, list):
        items = [_check(f"{key}[{n}]", item, kind.item) for n, item in enumerate(value)]
        problems = [problem for _, found in items for problem in found]
        return [item for item, _ in items], problems
    return check_value(key, value, kind)


def check_value(key: str, value: Any, kind: Union) -> tuple[Any, list[Problem]]:
    """Convert a value to its kind, or say what is wrong with it."""
    if isinstance(value, str) and value == MISSING:
        return value, [Problem(key, f"must be given: {key}=...  (allowed: {kind})")]
    try:
        return kind.convert(value), []
    except ValueError:
        pass
    shown = "null" if value is None else repr(value)
    hint = nearest(value, kind.choices) if isinstance(value, str) else ""
    return value, [Problem(key, f"{shown} is not allowed; allowed: {kind}{hint}")]


def _class_arguments(node: ast.ClassDef, module: SourceModule, owner: str) -> Group | None:
    """Arguments of a class: its __init__, its fields, or what it inherits."""
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return _arguments(statement, module, owner)
    bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
    decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
    inherited: Group | None = None
    for base in bases:
        found = module.find(base)
        if found and isinstance(found[1], ast.ClassDef):
            inherited = _class_arguments(found[1], found[0], owner) or inherited
    if "dataclass" not in decorators and not _is_typed_dict(node, module):
        return inherited or Group(owner=owner)
    fields = dict(inherited.fields) if inherited else {}
    optional = set(inherited.optional) if inherited else set()
    is_partial = any(
        word.arg == "total" and ast.unparse(word.value) == "False" for word in node.keywords
    )
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(
            statement.target, ast.Name
        ):
            continue
        if "ClassVar" in ast.unparse(statement.annotation):
            continue
        fields[statement.target.id] = _kind(statement.annotation, module)
        if statement.value is not None or is_partial:
            optional.add(statement.target.id)
    return Group(fields, frozenset(optional), owner)


def _arguments(node: ast.FunctionDef, module: SourceModule, owner: str) -> Group:
    """Arguments of a function or method, without ``self`` and those the data gives."""
    fields: dict[str, Union | Group] = {}
    positional = [*node.args.posonlyargs, *node.args.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(node.args.defaults))
    defaults += [*node.args.defaults, *node.args.kw_defaults]
    optional: set[str] = set()
    for argument, default in zip([*positional, *node.args.kwonlyargs], defaults):
        if argument.arg in ("self", *RUN_TIME_ARGUMENTS):
            continue
        annotation = argument.annotation
        fields[argument.arg] = _kind(annotation, module) if annotation else _ANYTHING
        if default is not None:
            optional.add(argument.arg)
    return Group(fields, frozenset(optional), owner)


def _kind(node: ast.expr, module: SourceModule) -> Union | Group:
    """What an annotation allows; anything where it cannot be told from the source."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return _kind(ast.parse(node.value, mode="eval").body, module)
        return Union((Choice((node.value,)),))
    if isinstance(node, ast.BinOp):
        return _union([node.left, node.right], module)
    if isinstance(node, ast.Subscript):
        return _subscript(node, module)
    name = node.id if isinstance(node, ast.Name) else ast.unparse(node).rpartition(".")[2]
    if name in _SCALARS:
        return Union((Scalar(_SCALARS[name]),))
    if name == "Constructed":
        return Group(any_target=True)
    found = module.find(name)
    if found is None:
        return _ANYTHING
    if isinstance(found[1], ast.ClassDef):
        fields = _class_arguments(found[1], found[0], name)
        return fields if fields and _is_typed_dict(found[1], found[0]) else _ANYTHING
    return _kind(found[1], found[0]) if isinstance(found[1], ast.expr) else _ANYTHING


def _is_typed_dict(node: ast.ClassDef, module: SourceModule) -> bool:
    """Whether a class is a typed dictionary, or inherits from one."""
    for base in map(ast.unparse, node.bases):
        found = module.find(base)
        if base.endswith("TypedDict"):
            return True
        if (
            found
            and isinstance(found[1], ast.ClassDef)
            and _is_typed_dict(found[1], found[0])
        ):
            return True
    return False


def _union(nodes: list[ast.expr], module: SourceModule) -> Union:
    """One kind or another."""
    kinds = [_kind(node, module) for node in nodes]
    return Union(
        tuple(
            k for kind in kinds for k in (kind.kinds if isinstance(kind, Union) else [kind])
        )
    )


def _subscript(node: ast.Subscript, module: SourceModule) -> Union | Group:
    """Kinds with parameters: Literal, Sequence, tuple, Optional, Union and Annotated."""
    name = ast.unparse(node.value).rpartition(".")[2]
    items = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Literal":
        return Union((Choice(tuple(ast.literal_eval(item) for item in items)),))
    if name == "Annotated":
        return _annotated(items, module)
    if name == "Union":
        return _union(items, module)
    if name == "Optional":
        return _union([*items, ast.Constant(None)], module)
    if name in _LISTS or name in ("tuple", "Tuple"):
        item = _kind(items[0], module)
        if not isinstance(item, Union):
            item = Union((item,))
        fixed = name.lower() == "tuple" and ast.unparse(items[-1]) not in (
            "...",
            "Ellipsis",
        )
        return Union((ListOf(item, len(items) if fixed else None),))
    if name == "Mapping" and isinstance(item := _kind(items[-1], module), Union):
        return Union((MappingOf(item),))
    return _ANYTHING


def _annotated(items: list[ast.expr], module: SourceModule) -> Union | Group:
    """A number with the interval of `constraints`; other annotations are not looked at."""
    kind = _kind(items[0], module)
    for note in items[1:]:
        if isinstance(note, ast.Call) and ast.unparse(note.func).endswith("Interval"):
            ends = {str(word.arg): ast.literal_eval(word.value) for word in note.keywords}
            if isinstance(kind, Union) and isinstance(kind.kinds[0], Scalar):
                return Union((Scalar(kind.kinds[0].type, Interval(**ends)),))
    return kind
