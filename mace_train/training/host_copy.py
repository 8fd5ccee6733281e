"""`HostCopy`: values of a GPU that the host reads later, without stopping the GPU now.

Floor 4. A host that waits for a GPU in every step leaves it idle while the next step is
prepared.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class HostCopy:
    """The values sent last; sending does not wait for them to be computed, reading does.

    >>> copy = HostCopy()
    >>> copy.send(torch.tensor([1.0, 2.0]))
    >>> copy.read().tolist()
    [1.0, 2.0]
    """

    def __init__(self) -> None:
        self._host: Tensor | None = None
        self._arrival: torch.cuda.Event | None = None

    def send(self, values: Tensor) -> None:
        """Begin to copy values, of one shape and type each time."""
        if self._host is None:
            self._host = torch.empty_like(values, device="cpu", pin_memory=values.is_cuda)
        self._host.copy_(values, non_blocking=True)
        if values.is_cuda:
            self._arrival = torch.cuda.Event()
            self._arrival.record()

    def read(self) -> np.ndarray:
        """The values sent last, once they have arrived."""
        assert self._host is not None, "nothing was sent"
        if self._arrival is not None:
            self._arrival.synchronize()
        return self._host.numpy().copy()
