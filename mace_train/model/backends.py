"""Which implementation of the costly operations runs: `model.backend`.

All give the same numbers to rounding; a file saved with one runs with any.
"""

from __future__ import annotations

from typing import Literal

import torch

Backend = Literal["auto", "plain", "chunked"]
"""What a user may ask for.

``plain`` is readable autograd, differentiable any number of times, on any device;
``chunked`` is the fast one on a CPU, differentiable twice; ``auto`` takes ``chunked`` on a
CPU and ``plain`` elsewhere.
"""

ChosenBackend = Literal["plain", "chunked"]


def chosen_backend(backend: Backend, device: torch.device) -> ChosenBackend:
    """What is used on a device.

    Raises:
        ValueError: If the backend does not work on the device.
    """
    if backend == "auto":
        return "chunked" if device.type == "cpu" else "plain"
    if backend == "chunked" and device.type != "cpu":
        raise ValueError(
            f"model.backend=chunked works on a CPU and the model is on {device}: set "
            "model.backend to auto or plain"
        )
    return backend
