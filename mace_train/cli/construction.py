"""Build what a config group names by its ``_target_``."""

from __future__ import annotations

from typing import Any

from hydra.utils import get_object


def construct(group: dict[str, Any], **more: Any) -> Any:
    """Build what a config group names by ``_target_``, from its other keys and ``more``."""
    arguments = {key: value for key, value in group.items() if key != "_target_"}
    return get_object(group["_target_"])(**arguments, **more)
