"""``mace-evaluate``: errors of a model, or of any ASE calculator, on labelled frames."""

from __future__ import annotations

from mace_train.cli.command import run_command


def main() -> None:
    """Console script; see ``configs/evaluate.yaml`` for its keys."""
    run_command("evaluate")


if __name__ == "__main__":
    main()
