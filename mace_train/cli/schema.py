"""The schema of every config: the annotated signatures of the constructors it names.

Floor 4, the standard library only. Signatures are read from source with `ast`, so that a
config is checked as a whole in milliseconds, before torch or Lightning are imported. A key
that a constructor does not take is unknown, an argument without default that the config
leaves out is missing, and a value must fit the annotation (`Literal`, `Sequence`,
``| None`` and the intervals of `constraints`).
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from pathlib import Path
from typing import Any

from mace_train.cli.problems import Problem, nearest
from mace_train.cli.values import (
    MISSING,
    Anything,
    Choice,
    Group,
    ListOf,
    Scalar,
    Union,
    check_value,
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
    module = _read_module(module_name) if module_name else None
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
        kind = group.fields[name]
        check = check_group if isinstance(kind, Group) else check_value
        converted[name], found_here = check(f"{prefix}{name}", item, kind)  # type: ignore[arg-type]
        problems += found_here
    for name in group.fields:
        if name not in value and name not in group.optional:
            problems.append(
                Problem(f"{prefix}{name}", f"is missing: {group.owner} needs it")
            )
    return converted, problems


class _Module:
    """The source of one module, as far as names in it can be looked up."""

    def __init__(self, path: Path) -> None:
        self.aliases: dict[str, ast.expr] = {}
        self.definitions: dict[str, ast.ClassDef | ast.FunctionDef] = {}
        self.imports: dict[str, tuple[str, str]] = {}
        self._scan(ast.parse(path.read_text(encoding="utf-8"), filename=str(path)).body)

    def _scan(self, body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                self.definitions[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self.aliases[node.targets[0].id] = node.value
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                if node.value is not None:
                    self.aliases[node.target.id] = node.value
            elif isinstance(node, ast.ImportFrom) and node.module:
                for name in node.names:
                    self.imports[name.asname or name.name] = (node.module, name.name)
            elif isinstance(node, ast.If):  # if TYPE_CHECKING
                self._scan(node.body)

    def find(self, name: str) -> tuple[_Module, ast.expr | ast.stmt] | None:
        """What a name stands for, followed through imports."""
        if name in self.definitions:
            return self, self.definitions[name]
        if name in self.aliases:
            return self, self.aliases[name]
        if name in self.imports:
            module_name, original = self.imports[name]
            module = _read_module(module_name)
            return module.find(original) if module else None
        return None


@functools.cache
def _read_module(name: str) -> _Module | None:
    """Find and parse a module's source without importing it or the packages above it."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        path = Path(spec.origin) if spec.origin else None
        return _Module(path) if path and path.suffix == ".py" else None
    for location in spec.submodule_search_locations or ():
        base = Path(location).joinpath(*rest)
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return _Module(path)
    return None


def _class_arguments(node: ast.ClassDef, module: _Module, owner: str) -> Group | None:
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
    if "dataclass" not in decorators and "TypedDict" not in bases:
        return inherited or Group(owner=owner)
    fields = dict(inherited.fields) if inherited else {}
    optional = set(inherited.optional) if inherited else set()
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(
            statement.target, ast.Name
        ):
            continue
        if "ClassVar" in ast.unparse(statement.annotation):
            continue
        fields[statement.target.id] = _kind(statement.annotation, module)
        if statement.value is not None:
            optional.add(statement.target.id)
    return Group(fields, frozenset(optional), owner)


def _arguments(node: ast.FunctionDef, module: _Module, owner: str) -> Group:
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


def _kind(node: ast.expr, module: _Module) -> Union | Group:
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
        typed = any(ast.unparse(base).endswith("TypedDict") for base in found[1].bases)
        return fields if typed and fields else _ANYTHING
    return _kind(found[1], found[0]) if isinstance(found[1], ast.expr) else _ANYTHING


def _union(nodes: list[ast.expr], module: _Module) -> Union:
    """One kind or another; a typed dictionary among several counts as anything."""
    kinds = [_kind(node, module) for node in nodes]
    return Union(
        tuple(
            k
            for kind in kinds
            for k in (kind.kinds if isinstance(kind, Union) else (Anything(),))
        )
    )


def _subscript(node: ast.Subscript, module: _Module) -> Union | Group:
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
            return _ANYTHING
        fixed = name.lower() == "tuple" and ast.unparse(items[-1]) not in (
            "...",
            "Ellipsis",
        )
        return Union((ListOf(item, len(items) if fixed else None),))
    return _ANYTHING


def _annotated(items: list[ast.expr], module: _Module) -> Union | Group:
    """A number with the interval of `constraints`; other annotations are not looked at."""
    kind = _kind(items[0], module)
    for note in items[1:]:
        if isinstance(note, ast.Call) and ast.unparse(note.func).endswith("Interval"):
            ends = {str(word.arg): ast.literal_eval(word.value) for word in note.keywords}
            if isinstance(kind, Union) and isinstance(kind.kinds[0], Scalar):
                return Union((Scalar(kind.kinds[0].type, Interval(**ends)),))
    return kind
