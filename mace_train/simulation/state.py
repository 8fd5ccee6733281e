"""`RunState`: all that a run needs to go on as if nothing had happened.

Floor 3. One file, written under another name and renamed, so that it is always whole. It
holds plain arrays and JSON; nothing is pickled.
"""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

FORMAT = 2


@dataclass(frozen=True)
class RunState:
    """A run after some step.

    Attributes:
        step: Steps done.
        heat: What the thermostat has given so far, eV.
        begun_with: Conserved energy at the beginning, eV; drift is counted from there.
        last_target: Last known temperature of the thermostat, K.
        followed: Temperature that follows the thermostat's as slowly as the atoms may, K.
        positions: Å, not wrapped.
        momenta: ASE's units.
        forces: At these positions, eV/Å.
        numbers: Atomic numbers.
        masses: u.
        cell: Å.
        pbc: Periodic directions.
        company: Which atoms had company at the beginning.
        rng: State of the generator of random numbers.
        settings: What must not change while a run goes on, as text.
        schedule: Stages as text.
        sizes: Bytes of log and trajectory.
    """

    step: int
    heat: float
    begun_with: float
    last_target: float
    followed: float
    positions: Float[np.ndarray, "nodes 3"]
    momenta: Float[np.ndarray, "nodes 3"]
    forces: Float[np.ndarray, "nodes 3"]
    numbers: Int[np.ndarray, " nodes"]
    masses: Float[np.ndarray, " nodes"]
    cell: Float[np.ndarray, "3 3"]
    pbc: Bool[np.ndarray, " 3"]
    company: Bool[np.ndarray, " nodes"]
    rng: dict[str, Any]
    settings: dict[str, str]
    schedule: list[str]
    sizes: tuple[int, int]

    def write(self, path: Path) -> None:
        """Write the file; an older one stays until this one is complete.

        Args:
            path: Ends with ``.npz``.
        """
        arrays: dict[str, Any] = {}
        plain: dict[str, Any] = {"format": FORMAT}
        for field in fields(self):
            value = getattr(self, field.name)
            (arrays if isinstance(value, np.ndarray) else plain)[field.name] = value
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            np.savez(file, plain=np.array(json.dumps(plain)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @classmethod
    def read(cls, path: Path) -> RunState:
        """Read what `write` wrote.

        Args:
            path: The file.

        Raises:
            ValueError: If it is no such file, or of another version.
        """
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                plain = json.loads(str(file["plain"]))
                arrays = {name: file[name] for name in file.files if name != "plain"}
            version = plain.pop("format")
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is no state of a run ({error}): remove the folder to begin anew, "
                "or give another one"
            ) from None
        if version != FORMAT:
            raise ValueError(
                f"{path} has format {version}, this version reads {FORMAT}: go on with the "
                "version of mace-train that wrote it, or give another folder"
            )
        plain["sizes"] = tuple(plain["sizes"])
        return cls(**plain, **arrays)
