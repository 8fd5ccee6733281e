"""Which implementation of the costly operations runs: `model.backend`.

All give the same numbers to rounding; a file saved with one runs with any.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

import torch

Backend = Literal["auto", "plain", "chunked", "cuequivariance"]
"""What a user may ask for.

``plain`` is readable autograd, differentiable any number of times, on any device;
``chunked`` is the fast one on a CPU, differentiable twice; ``cuequivariance`` is NVIDIA's
library, an optional package, with fast kernels on a GPU and slow plain torch on a CPU.
``auto`` takes ``chunked`` on a CPU; on a GPU ``cuequivariance`` if it is installed with its
kernels; and else ``plain``.
"""

ChosenBackend = Literal["plain", "chunked", "cuequivariance"]

CUEQUIVARIANCE_IS_MISSING = (
    "model.backend=cuequivariance needs the package: pip install "
    "'mace-train[cuequivariance]'"
)

# Looked up once: it is asked in every step, and by torch.compile, which cannot look it up.
_HAS_CUEQUIVARIANCE = find_spec("cuequivariance_torch") is not None
_HAS_KERNELS = find_spec("cuequivariance_ops_torch") is not None


def chosen_backend(backend: Backend, device: torch.device) -> ChosenBackend:
    """What is used on a device.

    Raises:
        ValueError: If the backend is unknown, does not work on the device, or is not
            installed.
    """
    if backend == "auto":
        if device.type == "cuda" and _HAS_CUEQUIVARIANCE and _HAS_KERNELS:
            return "cuequivariance"
        return "chunked" if device.type == "cpu" else "plain"
    if backend == "chunked" and device.type != "cpu":
        raise ValueError(
            f"model.backend=chunked works on a CPU and the model is on {device}: set "
            "model.backend to auto or plain"
        )
    if backend == "cuequivariance":
        _require_cuequivariance(device)
    elif backend not in ("plain", "chunked"):
        raise ValueError(
            f"backend={backend!r} is unknown: use auto, plain, chunked or cuequivariance"
        )
    return backend


def _require_cuequivariance(device: torch.device) -> None:
    if not _HAS_CUEQUIVARIANCE:
        raise ValueError(CUEQUIVARIANCE_IS_MISSING)
    if device.type == "cuda" and not _HAS_KERNELS:
        raise ValueError(
            "model.backend=cuequivariance needs its CUDA kernels on a GPU: pip install "
            "cuequivariance-ops-torch-cu12 (or -cu13, as torch.version.cuda says), or set "
            "model.backend to auto or plain"
        )
