"""mace-train's calculator as `md.py` drives it."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

from md_worker import Dynamics
from step_worker import prepare_process, serve

from mace_train.calculator import MACECalculator

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


class Ours(Dynamics):
    """As a user's script would have it."""

    def versions(self) -> dict[str, str]:
        """Versions of what decides the speed."""
        packages = ("mace-train", "torch", "ase", "vesin", "numba")
        return {package: importlib.metadata.version(package) for package in packages}

    def _calculator(self, model: str, dtype: str) -> Calculator:
        return MACECalculator(model, dtype=dtype)


if __name__ == "__main__":
    serve(Ours(), prepare_process().answers)
