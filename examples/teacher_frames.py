"""Frames labelled by CHGNet: a small model's lessons.

    python examples/teacher_frames.py --of nacl --output examples/models/nacl.extxyz
    python examples/teacher_frames.py --structure mine.cif --output mine.extxyz

Structures are examples/structures/NAME.py's, or those of a file that ASE reads; copies of
them are strained, scaled and rattled. The same command goes on with a file that was
interrupted; frame number n is the same whichever run makes it. Labels are CHGNet 0.3.0's,
as `label_source` says (eV, eV/Å, eV/Å^3; energies on MP2020's corrected scale). They are
not DFT: a model that learns them cannot be better than CHGNet. Needs
`pip install 'mace-train[examples]'`.
"""

# %% What to make
import argparse
import sys
from importlib import import_module
from pathlib import Path

import ase.io
import numpy as np
from rich.progress import track
from teacher import Lesson, as_text, frame, kept_lessons, teacher, whole_frames

NAMES = sorted(
    path.stem for path in (Path(__file__).parent / "structures").glob("[a-z]*.py")
)

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
source = parser.add_mutually_exclusive_group(required=True)
source.add_argument("--of", choices=NAMES, help="structures of an example")
source.add_argument("--structure", type=Path, help="a file of ASE; all its frames")
parser.add_argument("--output", type=Path, required=True, help="extended XYZ")
parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
parser.add_argument("--most", type=int, help="at most so many frames")
parser.add_argument("--seed", type=int, default=0)
own = parser.add_argument_group("with --structure")
own.add_argument("--copies", type=int, default=60, help="of each structure")
own.add_argument("--rattle", type=float, default=0.15, help="the most, Å")
own.add_argument("--volume", type=float, default=0.06, help="the most, as a share")
own.add_argument("--strain", type=float, default=0.015, help="standard deviation")
options = parser.parse_args()
RECIPE = f"{options.of or options.structure}; seed {options.seed}"
if options.structure:
    RECIPE += f"; rattle {options.rattle}; volume {options.volume}; strain {options.strain}"


def main() -> None:
    """Make the frames that are missing; the file gets its name when all are there."""
    if options.output.is_file():
        frames = whole_frames(options.output, RECIPE)
        return print(f"{len(frames)} frames are in {options.output}")
    part = options.output.with_suffix(".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    frames = whole_frames(part, RECIPE) if part.is_file() else []
    part.write_text("".join(frames), encoding="utf-8")
    if options.structure:  # before the teacher is loaded
        try:
            structures = list(ase.io.iread(options.structure, ":"))
        except Exception as error:  # whatever the many readers of ASE raise
            said = f"error: --structure {options.structure} cannot be read: {error!r}"
            raise SystemExit(said) from error
    calculator = teacher()
    starts = options.output.with_suffix(".starts.extxyz")
    own_labels = None  # a module may have the teacher's labels changed
    if options.of:
        module = import_module(f"structures.{options.of}")
        own_labels = getattr(module, "own_labels", None)
        print(f"the teacher relaxes the structures of {options.of}", flush=True)
        lessons = kept_lessons(starts, lambda: module.lessons(calculator, options.data_dir))
    else:
        distortion = (options.rattle, options.volume, options.strain)
        lessons = [Lesson(atoms, options.copies, *distortion) for atoms in structures]
    places = [(lesson, copy) for lesson in lessons for copy in range(lesson.copies)]
    places = places[: options.most]
    with part.open("a", encoding="utf-8") as file:
        for place in track(range(len(frames), len(places)), "CHGNet labels"):
            rng = np.random.default_rng([options.seed, place])
            atoms = frame(*places[place], rng, calculator)
            atoms = own_labels(atoms) if own_labels else atoms
            atoms.info["recipe"] = RECIPE
            file.write(as_text(atoms))
            file.flush()
            if not sys.stdout.isatty() and (place + 1) % 20 == 0:
                print(f"{place + 1} of {len(places)} frames are labelled", flush=True)
    part.rename(options.output)
    starts.unlink(missing_ok=True)
    return print(f"{len(places)} frames in {options.output}")


main()
