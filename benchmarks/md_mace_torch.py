"""mace-torch's calculator as `md.py` drives it; runs in its own environment."""

from __future__ import annotations

import importlib.metadata
import os
import warnings
from typing import TYPE_CHECKING

os.environ.setdefault("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # e3nn 0.4.4 needs it
warnings.filterwarnings("ignore")

from mace.calculators import MACECalculator  # noqa: E402
from md_worker import Dynamics  # noqa: E402
from step_worker import prepare_process, serve  # noqa: E402

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


class MaceTorch(Dynamics):
    """As a user's script would have it."""

    def versions(self) -> dict[str, str]:
        """Versions of what decides the speed."""
        packages = ("mace-torch", "torch", "ase", "matscipy", "e3nn")
        return {package: importlib.metadata.version(package) for package in packages}

    def _calculator(self, model: str, dtype: str) -> Calculator:
        return MACECalculator(model_paths=model, device="cpu", default_dtype=dtype)


if __name__ == "__main__":
    serve(MaceTorch(), prepare_process().answers)
