"""`Values`: what a config holds, as far as it is right.

Floor 6, the standard library only.
"""

from __future__ import annotations

from typing import Any

from mace_train.cli.problems import flatten


class Values:
    """Values of a config by dotted key, of which only the right ones are seen."""

    def __init__(
        self, config: dict[str, Any], choices: dict[str, str], clean: set[str]
    ) -> None:
        self._values = {key: value for key, value in flatten(config) if key in clean}
        self.choices = choices

    def has(self, *keys: str) -> bool:
        """Whether all these keys exist and are right so far."""
        return all(key in self._values for key in keys)

    def within(self, key: str) -> dict[str, Any]:
        """The right values of a group, by the names that they have there."""
        prefix = f"{key}."
        return {
            name.removeprefix(prefix): value
            for name, value in self._values.items()
            if name.startswith(prefix)
        }

    def get(self, key: str) -> Any:
        """The value of a key; None if it is not there or wrong."""
        return self._values.get(key)
