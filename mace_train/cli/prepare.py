"""``mace-prepare``: files of frames to HDF5 shards.

Floor 6. What it does stands in `cli.run_prepare`, which is imported after the config was
checked.
"""

from __future__ import annotations

from mace_train.cli.command import run_command


def main() -> None:
    """The console script ``mace-prepare``."""
    run_command("prepare")


if __name__ == "__main__":
    main()
