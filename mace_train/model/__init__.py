"""The MACE model in plain PyTorch, and its derivatives."""

from mace_train.model.derivatives import Prediction
from mace_train.model.mace import MACE

__all__ = ["MACE", "Prediction"]
