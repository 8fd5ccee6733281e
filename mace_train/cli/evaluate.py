"""``mace-evaluate``: predictions of a model or any ASE calculator, and their errors."""

from __future__ import annotations

from mace_train.cli.command import run_command


def main() -> None:
    """Console script; see ``configs/evaluate.yaml`` for its keys."""
    run_command("evaluate")


if __name__ == "__main__":
    main()
