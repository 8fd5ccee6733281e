"""Backends beside ``plain``; those of packages that are absent are skipped, and say so."""

from importlib.util import find_spec

import pytest

NEEDS_CUEQUIVARIANCE = pytest.mark.skipif(
    find_spec("cuequivariance_torch") is None,
    reason="cuequivariance is not installed: pip install 'mace-train[cuequivariance]'",
)
CUEQUIVARIANCE = pytest.param("cuequivariance", marks=NEEDS_CUEQUIVARIANCE)
OTHERS = ["chunked", CUEQUIVARIANCE]
BACKENDS = ["plain", *OTHERS]
