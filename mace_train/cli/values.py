"""What the value of a config key may be: kinds of values that check, convert and describe.

Floor 6, the standard library only. `cli.schema` makes these from a constructor's
annotations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mace_train.constraints import Interval

MISSING = "???"
"""What a config says where the user must give a value."""


class _WrongValueError(ValueError):
    """A value that a kind does not allow."""

    def __init__(self) -> None:
        super().__init__("not allowed")


@dataclass(frozen=True)
class Anything:
    """Any value."""

    def convert(self, value: Any) -> Any:
        """The value itself."""
        return value

    def __str__(self) -> str:
        return "anything"


@dataclass(frozen=True)
class Scalar:
    """A bool, int, float or str, perhaps within an interval; an int passes as a float."""

    type: type
    interval: Interval | None = None

    def convert(self, value: Any) -> Any:
        """The value in this type.

        Raises:
            ValueError: If it is of another type or out of the interval.
        """
        if self.type is float and type(value) is int:
            value = float(value)
        if type(value) is not self.type:
            raise _WrongValueError
        if self.interval is not None and value not in self.interval:
            raise _WrongValueError
        return value

    def __str__(self) -> str:
        name = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}
        text = name[self.type]
        return f"{text} {self.interval}" if self.interval else text


@dataclass(frozen=True)
class Choice:
    """One of the values named."""

    values: tuple[Any, ...]

    def convert(self, value: Any) -> Any:
        """The value itself.

        Raises:
            ValueError: If it is none of the choices.
        """
        for choice in self.values:
            if type(choice) is type(value) and choice == value:
                return value
        raise _WrongValueError

    def __str__(self) -> str:
        return " | ".join("null" if value is None else str(value) for value in self.values)


@dataclass(frozen=True)
class ListOf:
    """A list of values of one kind; one of fixed ``length`` becomes a tuple."""

    item: Union
    length: int | None = None

    def convert(self, value: Any) -> Any:
        """The list, or tuple, with converted items.

        Raises:
            ValueError: If it is no list, or an item is wrong.
        """
        if not isinstance(value, (list, tuple)):
            raise _WrongValueError
        if self.length is not None and len(value) != self.length:
            raise _WrongValueError
        items = [self.item.convert(item) for item in value]
        return items if self.length is None else tuple(items)

    def __str__(self) -> str:
        length = "" if self.length is None else f"{self.length} values, "
        return f"a list ({length}each {self.item})"


@dataclass(frozen=True)
class MappingOf:
    """Any words as keys, with values of one kind."""

    item: Union

    def convert(self, value: Any) -> Any:
        """The mapping with converted values.

        Raises:
            ValueError: If it is no mapping, or a value is wrong.
        """
        if not isinstance(value, dict):
            raise _WrongValueError
        return {str(key): self.item.convert(item) for key, item in value.items()}

    def __str__(self) -> str:
        return f"{{NAME: {self.item}, ...}}"


@dataclass(frozen=True)
class Union:
    """One of several kinds, tried in order."""

    kinds: tuple[Anything | Scalar | Choice | ListOf | MappingOf | Group, ...]

    def convert(self, value: Any) -> Any:
        """The value as the first kind that allows it.

        Raises:
            ValueError: If no kind allows it.
        """
        for kind in self.kinds:
            if isinstance(kind, Group):  # mappings are for `schema.check_group`
                continue
            try:
                return kind.convert(value)
            except _WrongValueError:
                continue
        raise _WrongValueError

    def __str__(self) -> str:
        return " | ".join(str(kind) for kind in self.kinds)

    @property
    def choices(self) -> list[str]:
        """Words among the allowed values."""
        groups = [kind.values for kind in self.kinds if isinstance(kind, Choice)]
        return [value for group in groups for value in group if isinstance(value, str)]

    @property
    def item(self) -> Union | None:
        """What the items of a list may be, if one of the kinds is a list."""
        return next((kind.item for kind in self.kinds if isinstance(kind, ListOf)), None)

    @property
    def group(self) -> Group | None:
        """The mapping among the kinds, if there is one."""
        return next((kind for kind in self.kinds if isinstance(kind, Group)), None)


@dataclass(frozen=True)
class Group:
    """A mapping whose keys are known: arguments of a constructor, or a typed dictionary.

    Attributes:
        fields: What each key may be.
        optional: Keys that may be left out, because the constructor has a default.
        owner: Who takes the keys, for messages.
        any_target: True for a place where the config itself names the constructor.
    """

    fields: dict[str, Union | Group] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    owner: str = ""
    any_target: bool = False

    def __str__(self) -> str:
        return "{" + ", ".join(self.fields) + "}"
