"""`PartFolder`: predictions on disk in parts, which are whole or absent.

Floor 4. A part holds consecutive frames. An evaluation that was stopped in whatever way
goes on with the parts that are missing, if model, data and settings are what they were.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from mace_train.training.differences import joined, shown
from mace_train.training.predictions import FrameFailure, FramePrediction, Outcome
from mace_train.training.whole_file import PARTIAL, finish_file, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

FORMAT = 1
_PLAN = "plan.json"
_OUR_NAMES = re.compile(r"(plan\.json|part-\d{6,}\.npz)(\.\d+)?(\.partial)?")
_PER_ATOM = {"forces": (3,), "forces_std": (3,), "node_energies": ()}
_PER_FRAME = {"energy": (), "energy_std": (), "stress": (3, 3), "stress_std": (3, 3)}
_ALWAYS = ("energy", "forces", "stress")


class PartFolder:
    """The parts of one evaluation.

    Args:
        path: The folder; made by `begin`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def notes(self) -> dict[str, Any]:
        """What was kept by `note` since the evaluation began."""
        return self._plan().get("notes", {})

    def note(self, **values: Any) -> None:
        """Keep plain values beside the parts."""
        self._write_plan(self._plan() | {"notes": self.notes | values})

    def begin(self, identity: Mapping[str, Any], *, resume: bool) -> None:
        """Go on with what is here, or begin anew.

        Args:
            identity: Plain values on which the parts depend.
            resume: Whether to go on; if not, the parts that are here are deleted.

        Raises:
            ValueError: If what is here is of another identity, or of no evaluation; the
                message tells what differs and what to do.
        """
        plan = self._plan()
        if not plan:
            self._require_ours(resume=resume)
        if plan and resume:
            self._require_same(plan, dict(identity))
            for ours in self._our_files():
                if ours.name.endswith(PARTIAL):
                    ours.unlink(missing_ok=True)
            return
        self.delete()
        self.path.mkdir(parents=True, exist_ok=True)
        self._write_plan({"format": FORMAT, "identity": dict(identity)})

    def _write_plan(self, plan: Mapping[str, Any]) -> None:
        write_whole(self.path / _PLAN, json.dumps(plan, indent=2) + "\n")

    def _plan(self) -> dict[str, Any]:
        try:
            plan = json.loads((self.path / _PLAN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        is_ours = isinstance(plan, dict) and isinstance(plan.get("identity"), dict)
        return plan if is_ours else {}

    def _our_files(self) -> list[Path]:
        """The files of an evaluation; nothing else is ever removed."""
        if not self.path.is_dir():
            return []
        files = (path for path in self.path.iterdir() if path.is_file())
        return sorted(path for path in files if _OUR_NAMES.fullmatch(path.name))

    def _require_ours(self, *, resume: bool) -> None:
        """Refuse a folder of somebody else, and parts of which no plan can be read."""
        if not self.path.exists():
            return
        ours = self._our_files()
        if not self.path.is_dir() or len(list(self.path.iterdir())) > len(ours):
            raise ValueError(
                f"{self.path} is not of an evaluation: choose another output=, or move it"
            )
        if resume and (self.path / _PLAN).exists():
            raise ValueError(
                f"{self.path / _PLAN} cannot be read, so nobody knows of what the "
                f"{self.num_finished} parts beside it are: put it back, begin anew with "
                "resume=never, or choose another folder with output=..."
            )

    def _require_same(self, plan: Mapping[str, Any], identity: dict[str, Any]) -> None:
        before = plan.get("identity", {}) | {"format": plan.get("format")}
        now = json.loads(json.dumps(identity)) | {"format": FORMAT}
        differences = [
            f"{key} was {shown(before.get(key))} and is now {shown(now.get(key))}"
            for key in [*now, *(key for key in before if key not in now)]
            if before.get(key) != now.get(key)
        ]
        if differences:
            raise ValueError(
                f"{self.path} holds predictions of another evaluation that was stopped: "
                f"{joined(differences)}. Restore that to go on with it, begin anew with "
                "resume=never, or choose another folder with output=..."
            )

    @property
    def num_finished(self) -> int:
        """How many parts are there."""
        return sum(1 for _ in self.path.glob("part-*.npz"))

    def is_finished(self, number: int) -> bool:
        """Whether a part is there."""
        return self._path(number).is_file()

    def write(self, number: int, outcomes: Sequence[Outcome]) -> None:
        """Write a part, in one step."""
        path = self._path(number)
        # The name of its own keeps it from a worker that outlives a killed parent a little.
        partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
        with partial.open("wb") as file:
            np.savez(file, **_arrays(outcomes))  # type: ignore[arg-type] - by name
        finish_file(partial, path)

    def read(self, number: int) -> list[Outcome]:
        """The outcomes of a part, in order.

        Raises:
            ValueError: If the part is missing or damaged, with what to do.
        """
        path = self._path(number)
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                return list(_outcomes({name: file[name] for name in file.files}))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} cannot be read ({error}): delete it, and the same command makes "
                "it again"
            ) from error

    def failures(self, number: int) -> list[str]:
        """Why frames of a part could not be predicted, in order.

        Raises:
            ValueError: If the part is missing or damaged, with what to do.
        """
        outcomes = self.read(number)
        return [one.reason for one in outcomes if isinstance(one, FrameFailure)]

    def delete(self) -> None:
        """Remove the parts, and the folder unless it holds something else.

        The plan goes first, so that no half of it is gone on with.
        """
        (self.path / _PLAN).unlink(missing_ok=True)
        for ours in self._our_files():
            ours.unlink(missing_ok=True)
        with suppress(OSError):  # absent, or not empty
            self.path.rmdir()

    def _path(self, number: int) -> Path:
        return self.path / f"part-{number:06d}.npz"


def _arrays(outcomes: Sequence[Outcome]) -> dict[str, np.ndarray]:
    """All outcomes as arrays; a frame that failed is NaN and has no atoms."""
    sizes = [len(o.forces) if isinstance(o, FramePrediction) else 0 for o in outcomes]
    reasons = {
        place: outcome.reason
        for place, outcome in enumerate(outcomes)
        if isinstance(outcome, FrameFailure)
    }
    arrays = {
        "num_atoms": np.array(sizes, np.int64),
        "failures": np.frombuffer(json.dumps(reasons).encode(), np.uint8),
    }
    for field in fields(FramePrediction):
        name = field.name
        shape = _PER_FRAME.get(name, _PER_ATOM.get(name))
        assert shape is not None, name
        values = [getattr(outcome, name, None) for outcome in outcomes]
        if name not in _ALWAYS and all(value is None for value in values):
            continue
        filled = [
            np.full((size, *shape) if name in _PER_ATOM else shape, np.nan)
            if value is None
            else np.asarray(value, np.float64)
            for value, size in zip(values, sizes)
        ]
        arrays[name] = np.concatenate(filled) if name in _PER_ATOM else np.stack(filled)
    return arrays


def _outcomes(arrays: Mapping[str, np.ndarray]) -> Iterator[Outcome]:
    reasons = json.loads(arrays["failures"].tobytes())
    ends = np.cumsum(arrays["num_atoms"])
    optional = [f.name for f in fields(FramePrediction) if f.name in arrays]
    for place, end in enumerate(ends.tolist()):
        if str(place) in reasons:
            yield FrameFailure(reasons[str(place)])
            continue
        rows = slice(end - int(arrays["num_atoms"][place]), end)
        values = {
            name: arrays[name][rows] if name in _PER_ATOM else arrays[name][place]
            for name in optional
        }
        yield FramePrediction(
            **{
                name: _value(value, is_needed=name in ("energy", "forces"))
                for name, value in values.items()
            }  # type: ignore[arg-type] - the names are those of its fields
        )


def _value(value: Any, *, is_needed: bool) -> Any:
    """A stored value; None for an optional one that was absent."""
    if not is_needed and np.isnan(value).all():
        return None
    return float(value) if np.ndim(value) == 0 else value
