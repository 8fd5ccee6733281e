"""The source of modules, read to look names up in it without importing anything.

Floor 6, the standard library only.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from pathlib import Path


class SourceModule:
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

    def find(self, name: str) -> tuple[SourceModule, ast.expr | ast.stmt] | None:
        """What a name stands for, followed through imports."""
        if name in self.definitions:
            return self, self.definitions[name]
        if name in self.aliases:
            return self, self.aliases[name]
        if name in self.imports:
            module_name, original = self.imports[name]
            module = read_module(module_name)
            return module.find(original) if module else None
        return None


@functools.cache
def read_module(name: str) -> SourceModule | None:
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
        return SourceModule(path) if path and path.suffix == ".py" else None
    for location in spec.submodule_search_locations or ():
        base = Path(location).joinpath(*rest)
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return SourceModule(path)
    return None
