"""`Census`: what a set of frames carries, what was left out, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mace_train.data.label_reader import told_twice
from mace_train.data.labels import KNOWN_KEYS, KeyCounts, LabelKeys, Property
from mace_train.data.look_alikes import COMMAND, commands
from mace_train.data.problems import FrameError, Place, ProblemLog, TooManyRefusedError
from mace_train.data.unit_evidence import UnitEvidence

if TYPE_CHECKING:
    from mace_train.data.frame import Frame

STOP_AFTER = 1000  # refused frames, if they are most of those read: then all are wrong


@dataclass
class Census:
    """Counts over frames; those of several workers are merged.

    Attributes:
        num_frames: Frames kept.
        num_atoms: Atoms in them.
        num_isolated_atoms: Frames among them that are isolated atoms.
        labels: Frames with each of ``energy``, ``forces``, ``stress`` (weight above 0).
        left_out: Frames left out on the user's word, by reason (``max_force``).
        keys: Which key gave each label.
        names: Frames that carry each key or column, known to us or not.
        problems: Refused frames.
        evidence: What the frames say about units and signs.
        keys_asked: Names and units the user gave; neither these nor ``max_force`` are part
            of what `to_dict` keeps.
        max_force: The user's limit, eV/Å.
    """

    num_frames: int = 0
    num_atoms: int = 0
    num_isolated_atoms: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    keys: KeyCounts = field(default_factory=KeyCounts)
    names: Counter[str] = field(default_factory=Counter)
    problems: ProblemLog = field(default_factory=ProblemLog)
    evidence: UnitEvidence = field(default_factory=UnitEvidence)
    keys_asked: LabelKeys = field(default_factory=LabelKeys)
    max_force: float | None = None

    def expect(self, keys: LabelKeys, *, max_force: float | None) -> None:
        """Take note of what the user asked for."""
        self.keys_asked = keys
        self.max_force = max_force

    @property
    def num_read(self) -> int:
        """Frames read: kept, left out and refused."""
        return self.num_frames + sum(self.left_out.values()) + self.problems.count

    def add(self, frame: Frame) -> None:
        """Count a frame that is kept."""
        self.num_frames += 1
        self.num_atoms += frame.num_atoms
        self.num_isolated_atoms += frame.is_isolated_atom
        self.labels["energy"] += frame.energy_weight > 0
        self.labels["forces"] += frame.forces_weight > 0
        self.labels["stress"] += frame.stress_weight > 0
        self.evidence.add(frame)

    def refuse(self, problem: FrameError, *, place: Place) -> None:
        """Note that a frame cannot be used.

        Raises:
            TooManyRefusedError: If there are `STOP_AFTER` of them, more than sound ones.
        """
        self.problems.add(problem, place=place)
        count = self.problems.count
        if count >= STOP_AFTER and count > self.num_frames:
            message = _as_list([*self._refusals(), *self.faults_of_all()])
            raise TooManyRefusedError(message, self.problems.to_dict())

    def merge(self, other: Census) -> None:
        """Add the counts of another part of the data, read after this one."""
        self.num_frames += other.num_frames
        self.num_atoms += other.num_atoms
        self.num_isolated_atoms += other.num_isolated_atoms
        self.labels += other.labels
        self.left_out += other.left_out
        self.names += other.names
        self.keys.merge(other.keys)
        self.problems.merge(other.problems)
        self.evidence.merge(other.evidence)

    def summary(self) -> str:
        """``energy 616/616, forces 616/616, stress 616/616``, and what was left out."""
        parts = [
            f"{name} {self.labels[name]}/{self.num_frames}{self._key_of(name)}"
            for name in KNOWN_KEYS
        ]
        if self.num_isolated_atoms:
            parts.append(f"isolated atoms {self.num_isolated_atoms}")
        if self.keys.passed_over:
            parts.append(
                f"stress of {self.keys.passed_over} not fully periodic passed over"
            )
        parts += [f"left out by {reason}: {n}" for reason, n in self.left_out.items()]
        if self.problems.count:
            parts.append(f"refused {self.problems.count}")
        return ", ".join(parts)

    def _key_of(self, name: Property) -> str:
        """The key that gave a label, where it is not the label's own name."""
        used = [key for key, count in self.keys.used[name].most_common() if count]
        return f" ({', '.join(used)})" if used not in ([], [name]) else ""

    def names_found(self) -> str:
        """Keys and columns of the files, the most frequent first, for messages."""
        shown = [f"{name} ({count})" for name, count in self.names.most_common(30)]
        more = len(self.names) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more > 0 else "") or "none"

    def raise_problems(self) -> None:
        """Refuse the data if anything in them is wrong; called when all are read.

        Raises:
            ValueError: With every problem, how many frames it concerns, where the first one
                is, and what to do.
        """
        faults = [*self._refusals(), *self.faults_of_all()]
        if faults:
            raise ValueError(_as_list(faults))

    def faults_of_all(self) -> list[str]:
        """What is wrong with the frames as a whole: keys, units and signs."""
        if not self.keys_asked.are_checked:
            return [*self._missing_keys(), *self._mixed_keys()]
        return [
            *self._missing_keys(),
            *self._mixed_keys(),
            *self.evidence.verdicts(
                units_are_default=self.keys_asked.energy_unit == "eV",
                max_force=self.max_force,
            ),
        ]

    def _refusals(self) -> list[str]:
        lines = self.problems.lines(self.num_read)
        for name, keys in KNOWN_KEYS.items():
            there = [key for key in keys if self.names[key]]
            counts = ", ".join(f"{key} is in {self.names[key]}" for key in there)
            told = f"\n  (of {self.num_read} frames read, {counts})"
            lines = [line + told if told_twice(name) in line else line for line in lines]
        return lines

    def _missing_keys(self) -> list[str]:
        """Keys that the user named and no frame carries."""
        if not self.num_read:
            return []
        messages = []
        for option, key in self.keys_asked.explicit().items():
            if key not in self.names:
                offers = "; ".join(self.offers_for(option.removesuffix("_key")))
                messages.append(
                    f"data.{option}={key} is in none of {self.num_read} frames. Names "
                    f"found: {self.names_found()}."
                    + (f" To take one of these: {offers}" if offers else "")
                )
        return messages

    def offers_for(self, label: str) -> list[str]:
        """Commands that take a label from a name that looks like it, one a line.

        Args:
            label: ``energy``, ``forces``, ``stress`` (also from virials) or ``virials``.
        """
        offered = self.keys.offered
        sources = ("stress", "virials") if label == "stress" else (label,)
        return [line for one in sources for line in commands(one, offered.get(one, {}))]

    def _mixed_keys(self) -> list[str]:
        """Labels that different frames give under different names."""
        messages = []
        for name, counts in self.keys.used.items():
            if len(counts) > 1:
                told = ", ".join(f"{key} in {n} frames" for key, n in counts.most_common())
                command = f"{COMMAND} data.{name}_key={counts.most_common(1)[0][0]}"
                messages.append(
                    f"the {name} has different names in different frames ({told}), so "
                    f"that these may come from different calculations. Rename one, or "
                    f"choose: {command} (frames without it then have no {name})."
                )
        return messages

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {
            "num_frames": self.num_frames,
            "num_atoms": self.num_atoms,
            "num_isolated_atoms": self.num_isolated_atoms,
            "labels": dict(self.labels),
            "left_out": dict(self.left_out),
            "keys": self.keys.to_dict(),
            "names": dict(self.names),
            "problems": self.problems.to_dict(),
            "evidence": self.evidence.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Census:
        """The census that `to_dict` wrote."""
        return cls(
            num_frames=values["num_frames"],
            num_atoms=values["num_atoms"],
            num_isolated_atoms=values["num_isolated_atoms"],
            labels=Counter(values["labels"]),
            left_out=Counter(values["left_out"]),
            keys=KeyCounts.from_dict(values["keys"]),
            names=Counter(values["names"]),
            problems=ProblemLog.from_dict(values["problems"]),
            evidence=UnitEvidence(**values["evidence"]),
        )


def _as_list(faults: list[str]) -> str:
    """One sentence, or a list of several."""
    if len(faults) == 1:
        return faults[0]
    return f"{len(faults)} problems with the data:\n- " + "\n- ".join(faults)
