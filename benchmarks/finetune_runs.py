"""The runs of `finetune.py`: parents, fine-tuning by each method, training from nothing.

All of them are `mace-train` itself. Their frames are drawn once and written as files, so
that a run that goes on sees the same ones.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np

from mace_train.cli.command import run_overrides

FROM_NOTHING = "from nothing"
METHODS: dict[str, tuple[str, ...]] = {
    FROM_NOTHING: (),
    "full": (),
    "replay": (),
    "lora": (),
    "freeze": (),
    "full, lr 1e-2": ("recipe.lr=1e-2",),
    "full, lr 3e-3": ("recipe.lr=3e-3",),
    "full, 4 x steps": (),
    "from nothing, lr 1e-3": ("recipe.lr=1e-3",),
    "from nothing, 4 x steps": (),
    "replay, lr 1e-2": ("recipe.lr=1e-2",),
    "replay, EMA .99": ("recipe.ema_decay=0.99",),
    "freeze, lr 1e-2": ("recipe.lr=1e-2",),
}
"""What each line of the tables adds to the recipe of its method, its first word."""

LONGER = {"full, 4 x steps": 4, "from nothing, 4 x steps": 4}
"""How many times as many steps a line has as its task."""

_ALWAYS = (
    *("data=extxyz", "model=mace_tiny", "schedule=cosine", "resume=never"),
    *("report.figures=false", "report.train_frames=16", "trainer.accelerator=cpu"),
    *("trainer.progress_bar=false", "data.num_workers=0", "logger=none"),
)


@dataclass(frozen=True)
class Task:
    """Frames that a parent learns, and other frames for which it is fine-tuned.

    Attributes:
        name: For files and headings.
        old: File of the parent's frames.
        old_test: File of its test frames; None: a fifth of ``old``, drawn once.
        new: File of the frames for fine-tuning.
        new_test: File of their test frames.
        sizes: Numbers of these frames, a tenth of which (one at least) validates.
        batch_size: Frames in a batch; with replay as many again of the parent's.
        num_steps: Of every run, as nearly as whole epochs come to it.
        parent_epochs: Epochs of the parent.
        always: Overrides of all runs.
        parent_only: Overrides of the parent.
    """

    name: str
    old: str
    old_test: str | None
    new: str
    new_test: str
    sizes: tuple[int, ...]
    batch_size: int
    num_steps: int
    parent_epochs: int
    always: tuple[str, ...] = ()
    parent_only: tuple[str, ...] = ()


TASKS = {
    task.name: task
    for task in (
        Task(
            "acetylacetone",
            old="3BPA_train_300K.xyz",
            old_test=None,
            new="acac_train_300K.xyz",
            new_test="acac_test_MD_300K.xyz",
            sizes=(10, 30, 100, 300),
            batch_size=3,
            num_steps=1080,
            parent_epochs=60,
            always=("loss.stress_weight=0",),
        ),
        Task(
            "lithium",
            old="mlearn_Si_training.extxyz",
            old_test="mlearn_Si_test.extxyz",
            new="mlearn_Li_training.extxyz",
            new_test="mlearn_Li_test.extxyz",
            sizes=(10, 30, 100),
            batch_size=3,
            num_steps=400,
            parent_epochs=30,
            parent_only=("data.elements=[Li,Si]",),
        ),
    )
}


@dataclass(frozen=True)
class Run:
    """One line of a table, one number of frames, one seed."""

    task: Task
    line: str
    size: int
    seed: int

    @property
    def method(self) -> str:
        """Of fine-tuning; empty if the run begins from nothing."""
        method = self.line.split(",")[0]
        return "" if method == FROM_NOTHING else method

    @property
    def name(self) -> str:
        """For files."""
        line = "".join(c if c.isalnum() else "-" for c in self.line)
        return f"{self.task.name}-{line}-{self.size}-{self.seed}"


class Bench:
    """A folder of frames, parents and results.

    Args:
        data: Folder of the data sets.
        folder: For everything else; what is there already is not done again.
    """

    def __init__(self, data: Path, folder: Path) -> None:
        self._data, self._folder = data, folder.resolve()

    def parent(self, task: Task) -> dict[str, Any]:
        """Train the parent of a task, and measure it on both tests."""
        kept = self._folder / f"parent-{task.name}.json"
        if not kept.exists():
            train, test = self._old_frames(task)
            began, folder = time.perf_counter(), self._parent_folder(task)
            own = [f"data.train={train}", "data.valid_fraction=0.05", "data.batch_size=4"]
            epochs = f"trainer.max_epochs={task.parent_epochs}"
            if not (folder / "model.safetensors").exists():
                self._train(task, folder, [*own, epochs, *task.parent_only])
            found = {
                "seconds": time.perf_counter() - began,
                "old": self._errors(folder, test),
                "new": self._errors(folder, self._data / task.new_test),
            }
            write_json(kept, found)
        return json.loads(kept.read_text())

    def result(self, run: Run, *, may_run: bool = True) -> dict[str, Any] | None:
        """Errors of a run, which is done if there are none yet; None if it may not be."""
        kept = self._folder / "results" / f"{run.name}.json"
        if not kept.exists():
            if not may_run:
                return None
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_json(kept, self._run(run))
        return json.loads(kept.read_text())

    def _run(self, run: Run) -> dict[str, Any]:
        task, folder = run.task, self._folder / "runs" / run.name
        train, valid = self._new_frames(run)
        num_frames, batch_size = run.size - num_valid(run.size), task.batch_size
        old, old_test = self._old_frames(task)
        words = [f"data.train={train}", f"data.valid={valid}", f"seed={run.seed}"]
        if run.method:
            words += ["experiment=finetune", f"finetune.method={run.method}"]
            parent = self._parent_folder(task) / "model.safetensors"
            words += [f"init_from={parent}", "finetune.checks=false"]
        if run.method == "replay":
            words += [f"data.replay={old}", "data.mixing=even"]
            num_frames += len(ase.io.read(old, ":"))
            batch_size *= 2
        steps = -(-num_frames // batch_size)  # of an epoch
        epochs = round(LONGER.get(run.line, 1) * task.num_steps / steps)
        words += [f"data.batch_size={batch_size}", f"trainer.max_epochs={epochs}"]
        words += [f"checkpoint.every_epochs={epochs}", *METHODS[run.line]]
        began = time.perf_counter()
        self._train(task, folder, words)
        seconds = time.perf_counter() - began
        replays = run.method == "replay"
        found = {
            "task": task.name,
            "line": run.line,
            "size": run.size,
            "seed": run.seed,
            "steps": epochs * steps,
            "seconds": seconds,
            "new": self._errors(
                folder, self._data / task.new_test, "finetuned" if replays else None
            ),
        }
        if run.method:
            head = "Default" if replays else None
            found["old"] = self._errors(folder, old_test, head)
        shutil.rmtree(folder)
        return found

    def _train(self, task: Task, folder: Path, words: list[str]) -> None:
        cache = f"data.cache_dir={self._folder / 'cache'}"
        experiment = [word for word in words if word.startswith("experiment=")]
        others = [word for word in words if word not in experiment]
        common = [word for word in _ALWAYS if not experiment or "model=" not in word]
        run_overrides(
            "train",
            [*experiment, *common, *task.always, cache, f"run_dir={folder}", *others],
        )

    def _errors(
        self, folder: Path, test: Path, head: str | None = None
    ) -> dict[str, float | None]:
        """RMSE of energy per atom (eV) and of forces (eV/Å) on the frames of a file."""
        output = folder / f"errors-{test.stem}"
        found = run_overrides(
            "evaluate",
            [
                f"checkpoint={folder / 'model.safetensors'}",
                *(f"data.test={test}", f"data.cache_dir={self._folder / 'cache'}"),
                *(f"output={output}", "resume=never", "predictions=none"),
                *("figures=false", "workers=1", "device=cpu"),
                *([] if head is None else [f"head={head}"]),
            ],
        )["test"]
        return {key: found[f"{key}_rmse"] for key in ("energy_per_atom", "forces")}

    def _parent_folder(self, task: Task) -> Path:
        return self._folder / f"parent-{task.name}"

    def _old_frames(self, task: Task) -> tuple[Path, Path]:
        """Files of the parent's frames, and of those that it is tested on."""
        source = (self._data / task.old).resolve()
        if task.old_test is not None:
            return source, (self._data / task.old_test).resolve()
        train, test = (self._folder / f"{task.name}-old-{s}.xyz" for s in ("train", "test"))
        if not test.exists():
            frames = ase.io.read(source, ":")
            order = np.random.default_rng(0).permutation(len(frames))
            num_train = len(frames) * 4 // 5
            write_frames(train, [frames[i] for i in sorted(order[:num_train])])
            write_frames(test, [frames[i] for i in sorted(order[num_train:])])
        return train, test

    def _new_frames(self, run: Run) -> tuple[Path, Path]:
        """Files of training and validation frames; fewer frames are a part of more."""
        stem = f"{run.task.name}-new-{run.size}-{run.seed}"
        train, valid = (self._folder / f"{stem}-{s}.xyz" for s in ("train", "valid"))
        if not valid.exists():
            frames = ase.io.read(self._data / run.task.new, ":")
            order = np.random.default_rng(100 + run.seed).permutation(len(frames))
            chosen = [frames[i] for i in order[: run.size]]
            write_frames(train, chosen[num_valid(run.size) :])
            write_frames(valid, chosen[: num_valid(run.size)])
        return train, valid


def num_valid(size: int) -> int:
    """Frames that validate, of all that there are."""
    return max(1, size // 10)


def write_frames(path: Path, frames: Any) -> None:
    """Write extended XYZ, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    ase.io.write(partial, frames, format="extxyz")
    partial.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)
