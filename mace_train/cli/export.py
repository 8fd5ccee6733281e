"""``mace-export``: a model as a file that other programs use."""

from __future__ import annotations

from mace_train.cli.command import run_command


def main() -> None:
    """Console script; see ``configs/export.yaml`` for its keys."""
    run_command("export")


if __name__ == "__main__":
    main()
