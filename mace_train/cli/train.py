"""``mace-train``: the command, and the same from Python.

Floor 6. What a run does stands in `cli.run_train`, which is imported after the config was
checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mace_train.cli.command import run_command, run_overrides

if TYPE_CHECKING:
    from collections.abc import Sequence


def main() -> None:
    """The console script ``mace-train``."""
    run_command("train")


def train(
    overrides: Sequence[str] = (), *, config_dir: str | None = None
) -> dict[str, Any]:
    """Train a model as ``mace-train`` does and return its errors.

    Args:
        overrides: What would stand on the command line, e.g.
            ``["model=mace_tiny", "data=extxyz", "data.train=my.xyz"]``.
        config_dir: Folder with your own config groups.

    Returns:
        The content of the run's ``results.json``: for ``train``, ``valid`` and ``test`` the
        MAE and RMSE of energy per atom (eV/atom), forces (eV/Å) and stress (eV/Å^3).

    Raises:
        ConfigError: A ``ValueError`` with everything that is wrong with the configuration.
        ValueError: If the data cannot be trained on; the message says why and what to do.
    """
    return run_overrides("train", overrides, config_dir=config_dir)


if __name__ == "__main__":
    main()
