"""``mace-check``: whether a potential obeys the laws of physics."""

from __future__ import annotations

from mace_train.cli.command import run_command


def main() -> None:
    """Console script; see ``configs/check.yaml`` for its keys."""
    run_command("check")


if __name__ == "__main__":
    main()
