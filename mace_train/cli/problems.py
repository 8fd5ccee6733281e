"""What is wrong with a config, and how it is said: all at once, each with its dotted key.

Floor 6, the standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a config.

    Attributes:
        key: Dotted key, or the word of the command line.
        message: What is wrong, what is allowed, and what to do.
    """

    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" if self.key else self.message


class ConfigError(ValueError):
    """Everything that is wrong with a config, at once.

    Args:
        problems: At least one.
        command: Console script that was called, for the first line of the message.
    """

    def __init__(self, problems: Iterable[Problem], command: str = "mace-train") -> None:
        self.problems = tuple(problems)
        count = f"{len(self.problems)} problem" + ("s" if len(self.problems) > 1 else "")
        lines = [f"{command}: {count} in the configuration"]
        lines += ["  " + str(problem).replace("\n", "\n    ") for problem in self.problems]
        super().__init__("\n".join(lines))


def nearest(word: str, known: Iterable[str]) -> str:
    """A question that suggests the most similar known word, or nothing.

    >>> nearest("max_epoch", ["max_epochs", "devices"])
    '; did you mean max_epochs?'
    """
    matches = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]}?" if matches else ""


def flatten(mapping: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of the leaves of nested mappings."""
    for key, value in mapping.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
