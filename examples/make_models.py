"""Make the models that the examples need, one after another, into examples/models/.

    python examples/make_models.py --data-dir ../shared/data     # or: make example-models
    python examples/make_models.py --only nacl
    python examples/make_models.py --jobs 2     # two at a time, each on half of the cores

A model that is there is not made again; one that was interrupted goes on where it was:
labels frame by frame, training from its last checkpoint. Frames of a teacher need CHGNet
(`pip install 'mace-train[examples]'`), the others the files named below in --data-dir.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

from jobs import Job, JobQueue

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    """How one model is made.

    Attributes:
        experiment: Configuration of `mace-train`.
        files: Its keys that are files of --data-dir.
        teacher: Module of structures/ where CHGNet labels the frames first.
        parent: Recipe of the model that this one is fine-tuned from.
        minutes: About, on one core.
    """

    experiment: str
    files: dict[str, str] = field(default_factory=dict)
    teacher: str = ""
    parent: str = ""
    minutes: int = 5


RECIPES = {
    "silicon": Recipe(
        "example_silicon",
        {"data.train": "mlearn_Si_training.extxyz", "data.test": "mlearn_Si_test.extxyz"},
        minutes=8,
    ),
    "organic": Recipe("example_organic", {"data.train": "3BPA_train_300K.xyz"}, minutes=3),
    "acac": Recipe(
        "example_acac",
        {"data.train": "acac_train_600K.xyz", "data.test": "acac_test_MD_300K.xyz"},
        minutes=4,
    ),
    "water": Recipe(
        "example_water",
        {"data.train": "apps/water_192_120.extxyz"},
        parent="organic",
        minutes=6,
    ),
    "nacl": Recipe("example_nacl", teacher="nacl", minutes=4),
    "ice": Recipe("example_ice", teacher="ice", minutes=8),
    "copper": Recipe("example_copper", teacher="copper", minutes=7),
    "surfaces": Recipe("example_surfaces", teacher="surfaces", minutes=8),
    "in2o3": Recipe("example_in2o3", teacher="in2o3", minutes=7),
    "oxides": Recipe("example_oxides", teacher="oxides", minutes=6),
    "mofs": Recipe("example_mofs", teacher="mofs", minutes=8),
}


def commands(name: str, options: argparse.Namespace) -> list[list[str]]:
    """The command lines that make a model."""
    recipe = RECIPES[name]
    keys = {key: options.data_dir / file for key, file in recipe.files.items()}
    lines = []
    if recipe.parent:
        keys["init_from"] = options.folder / recipe.parent / "model.safetensors"
    if recipe.teacher:
        frames = options.folder / f"{name}.extxyz"
        keys["data.train"] = frames
        words = [sys.executable, str(FOLDER / "teacher_frames.py"), "--of", recipe.teacher]
        words += ["--data-dir", str(options.data_dir), "--output", str(frames)]
        lines.append(words)
    words = [
        sys.executable,
        "-m",
        "mace_train.cli.train",
        f"experiment={recipe.experiment}",
    ]
    words += [f"run_dir={options.folder / name}", *(f"{key}={keys[key]}" for key in keys)]
    return [*lines, [*words, *options.overrides]]


def main() -> None:
    """Make each model that is asked for and not there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folder", type=Path, default=FOLDER / "models")
    parser.add_argument("--only", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--jobs", type=int, default=1, help="so many models at a time")
    parser.add_argument(
        "overrides", nargs="*", help="keys of mace-train for all of them: trainer.devices=2"
    )
    options = parser.parse_args()
    missing = [
        str(options.data_dir / file)
        for name in options.only
        for file in RECIPES[name].files.values()
        if not (options.data_dir / file).is_file()
    ]
    if missing:
        sys.exit(f"error: {', '.join(missing)} not found; --data-dir, or --only others")
    jobs = []
    for name in options.only:
        if (options.folder / name / "model.safetensors").is_file():
            print(f"{name}: is there", flush=True)
            continue
        recipe, log = RECIPES[name], options.folder / f"{name}.log"
        jobs.append(Job(name, commands(name, options), log, recipe.minutes, recipe.parent))
    if failed := JobQueue(jobs, options.jobs).run():
        sys.exit(f"error: {', '.join(failed)} not made; the same command goes on")


if __name__ == "__main__":
    main()
