"""Read a pickle as plain data: nothing is imported, called or built but what stands here.

A pickle is a little program whose instructions may import any name and call it. This reader
runs only the instructions that ``torch.save`` writes for a module, and turns each "call"
into a `Record` of what would have been called with what. Names are never looked up: one
that is not on the list of the caller is refused. `torch_archive` adds the tensors,
`mace_torch` the meaning.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_INSTRUCTIONS = 200_000  # an official file with two layers has about 15,000
_MARK = object()


class UnsafeFileError(ValueError):
    """A file asks for something that reading a model never needs."""


@dataclass(frozen=True)
class Name:
    """A global name found in the pickle; never imported."""

    full: str


@dataclass(eq=False)
class Record:
    """What a pickle wants to build: the name of its class or function, arguments and state.

    Attributes:
        name: Dotted name, e.g. ``mace.modules.models.ScaleShiftMACE``.
        args: What it would be called with.
        state: What its attributes would be set to; None if nothing.
    """

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None


@dataclass(eq=False)
class Reference:
    """A persistent id: data kept outside of the pickle, as torch does for storages."""

    id: Any


@dataclass
class _Machine:
    """The pickle virtual machine, reduced to instructions that make data."""

    is_allowed: Callable[[str], bool]
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def top(self) -> Any:
        if self.stack[-1] is _MARK:
            raise ValueError("its pickle is broken")
        return self.stack[-1]

    def pop(self) -> Any:
        value = self.top()
        del self.stack[-1]
        return value

    def pop_to_mark(self) -> list[Any]:
        items: list[Any] = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        items.reverse()
        return items

    def pop_tuple(self, length: int) -> None:
        items = [self.pop() for _ in range(length)]
        self.stack.append(tuple(reversed(items)))

    def push_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        full = f"{module}.{name}"
        if not self.is_allowed(full):
            raise UnsafeFileError(
                f"it asks to import {full!r}, which reading a model never needs. Nothing "
                "was executed. If you trust where the file comes from, report this name"
            )
        self.stack.append(Name(full))

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise UnsafeFileError("it appends to something that is not a list")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise UnsafeFileError("it sets items of something that is not a dict")
        for key, value in zip(items[::2], items[1::2]):
            # A nested tuple as a key could exhaust the C stack when it is hashed.
            if not isinstance(key, str | int | float | bool | None):
                raise UnsafeFileError(f"it has a dict key of type {type(key).__name__}")
            target[key] = value

    def call(self, *, new_object: bool) -> None:
        arguments = self.pop()
        function = self.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise UnsafeFileError("it calls something that is not a name")
        if new_object:
            self.stack.append(Record(function.full, arguments))
        else:
            self.stack.append(_plain_value(function.full, arguments))

    def build(self) -> None:
        state = self.pop()
        target = self.top()
        if isinstance(target, Record):
            target.state = state
        elif not isinstance(target, dict):  # an OrderedDict's own attributes: not needed
            raise UnsafeFileError(f"it sets the state of a {type(target).__name__}")


def _plain_value(name: str, arguments: tuple[Any, ...]) -> Any:
    """The few calls that make plain data, done by hand; a `Record` for every other."""
    match name, arguments:
        case "collections.OrderedDict", ():
            return {}
        case "__builtin__.set" | "builtins.set", (list(items),):
            return list(items)
        case "_codecs.encode", (str(text), "latin1"):
            return text.encode("latin1")
        case "torch.Size", (tuple(size),):
            return size
    return Record(name, arguments)


_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    ["BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE"]
)
_ACTIONS: dict[str, Callable[[_Machine, Any], object]] = {
    "PROTO": lambda _machine, _version: None,
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.pop_tuple(1),
    "TUPLE2": lambda machine, _: machine.pop_tuple(2),
    "TUPLE3": lambda machine, _: machine.pop_tuple(3),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "BINPUT": lambda machine, place: machine.memo.update({place: machine.top()}),
    "LONG_BINPUT": lambda machine, place: machine.memo.update({place: machine.top()}),
    "BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "LONG_BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "POP": lambda machine, _: machine.pop(),
    "GLOBAL": lambda machine, argument: machine.push_global(argument),
    "REDUCE": lambda machine, _: machine.call(new_object=False),
    "NEWOBJ": lambda machine, _: machine.call(new_object=True),
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.stack.append(Reference(machine.pop())),
}


def read_inert_pickle(data: bytes, *, is_allowed: Callable[[str], bool]) -> Any:
    """Read a pickle of protocol 2 (that of ``torch.save``) without executing it.

    Args:
        data: The pickle.
        is_allowed: Says whether a dotted global name may stand in the file. An allowed name
            is still never imported: it ends as the name of a `Record`.

    Returns:
        Numbers, strings, bytes, None, lists, dicts, tuples, `Record`, `Reference` and
        `Name`. A set comes as a list.

    Raises:
        UnsafeFileError: If the pickle names a global that is not allowed, or has an
            instruction that ``torch.save`` does not write.
        ValueError: If it is broken.

    >>> import pickle
    >>> read_inert_pickle(pickle.dumps({"r_max": 6.0}, 2), is_allowed=lambda name: False)
    {'r_max': 6.0}
    """
    machine = _Machine(is_allowed)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > _MAX_INSTRUCTIONS:
                raise UnsafeFileError(f"it has more than {_MAX_INSTRUCTIONS} instructions")
            if opcode.name == "STOP":
                break
            if opcode.name in _CONSTANTS:
                machine.stack.append(_CONSTANTS[opcode.name])
            elif opcode.name in _LITERALS:
                machine.stack.append(argument)
            elif opcode.name in _ACTIONS:
                _ACTIONS[opcode.name](machine, argument)
            else:
                raise UnsafeFileError(
                    f"it has the pickle instruction {opcode.name}, which torch.save does "
                    "not write by default"
                )
        result = machine.pop()
        if machine.stack:
            raise ValueError("its pickle is broken")
    except UnsafeFileError:
        raise
    except (ValueError, IndexError, KeyError) as error:  # also an empty stack or memo
        raise ValueError("its pickle is broken") from error
    return result
