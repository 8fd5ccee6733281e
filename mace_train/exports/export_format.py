"""`ExportFormat`: what every form of exported file has to offer.

Floor 3. A module of this folder that writes a form of file defines one `ExportFormat`,
which stands in the list of `formats.py`. `export.py` writes with it, reads the written file
back with it, and keeps the file only if it predicts what the model predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mace_train.graph import AtomicGraph
from mace_train.model.mace import MACE


@dataclass(frozen=True)
class FramePrediction:
    """What a model or a file says about one structure, in float64 whatever it computes in.

    Attributes:
        energy: eV, with the atoms' own energies.
        forces: eV/Å.
        stress: eV/Å^3, positive in tension; None where a form of file gives none, or the
            structure is not periodic in three directions.
    """

    energy: float
    forces: Float[np.ndarray, "nodes 3"]
    stress: Float[np.ndarray, "3 3"] | None


@dataclass(frozen=True)
class Tolerance:
    """How far a file may be from its model: ``absolute + relative * largest value``.

    Attributes:
        absolute: eV, eV/Å and eV/Å^3.
        relative: Of the largest value that the model predicts for any of the structures,
            since small forces are sums of large ones.
    """

    absolute: float
    relative: float


FLOAT64_TOLERANCE = Tolerance(absolute=1e-10, relative=1e-12)
FLOAT32_TOLERANCE = Tolerance(absolute=1e-4, relative=1e-5)


@dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """A form of file that other programs use.

    Attributes:
        name: As in ``mace-export format=NAME``.
        suffix: End of the file's name, such as ``.model``.
        takes_several_heads: Whether one file can hold several heads. Where not, `write` is
            given a model of one head.
        require: Raises ImportError, with the command that cures it, if a package is missing
            that writing or reading back needs; called before anything is computed.
        write: ``write(path, model, metadata)``: writes the file, in the model's dtype. The
            model is in evaluation mode, on the CPU, and is left as it is. ``metadata`` are
            plain values that JSON knows; the file carries them if its form allows that.
            Raises ValueError for a model that this form cannot hold.
        predict: ``predict(path, graphs)``: loads the written file as its users do, and
            predicts graphs of one structure each, which are in float64 and carry the place
            of a head.
        next_step: One line for the user: how the file is used.
        float64_tolerance: Of a file in float64.
        float32_tolerance: Of a file in float32.
    """

    name: str
    suffix: str
    takes_several_heads: bool
    require: Callable[[], None]
    write: Callable[[Path, MACE, dict[str, Any]], None]
    predict: Callable[[Path, Sequence[AtomicGraph]], list[FramePrediction]]
    next_step: str
    float64_tolerance: Tolerance = FLOAT64_TOLERANCE
    float32_tolerance: Tolerance = FLOAT32_TOLERANCE
