"""How the loops of the fast operations are compiled: numba, for one thread, kept on disk.

Sums may be reordered and products fused, as in any library of linear algebra; NaN and
infinity keep their meaning. What is compiled is kept in numba's cache (NUMBA_CACHE_DIR).
"""

from __future__ import annotations

from typing import Any

from numba import njit

compiled: Any = njit(
    cache=True,
    nogil=True,
    error_model="numpy",
    fastmath={"reassoc", "contract", "nsz", "arcp"},
)
"""Decorator of a loop over arrays, above ``no_type_check``: its callers check them."""
