"""Long molecular dynamics of a crystal that is watched, and goes on where it ended.

    python examples/molecular_dynamics.py                    # after `make train`: magnesia
    python examples/molecular_dynamics.py --model runs/NAME/model.safetensors \
        --structure cell.xyz --repeat 2 --stages 300:50 300-1500:20 1500:5

The same command goes on with a run that was interrupted. See docs/molecular_dynamics.md.
"""

# %% What to run, and how
import argparse
import logging
import sys
from pathlib import Path

from ase import Atoms
from ase.build import bulk
from ase.io import read
from gates import Gate, write_gates

from mace_train import MACECalculator
from mace_train.simulation.figures import draw_run
from mace_train.simulation.md_run import MDRun
from mace_train.simulation.schedule import TemperatureSchedule
from mace_train.simulation.settings import MDSettings
from mace_train.simulation.summary import summarize
from mace_train.simulation.trip_wires import TripWireError, TripWires

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--model", type=Path, help="default: the newest runs/*/model...")
parser.add_argument("--structure", type=Path, help="any file of ASE; default: MgO, 8 atoms")
parser.add_argument("--repeat", type=int, default=2, help="supercell: times per direction")
parser.add_argument(
    "--stages",
    nargs="+",
    default=["300:50", "300-1500:20", "1500:5"],
    help="K:ps, K-K:ps (a ramp) or nve:ps, one after the other (default: %(default)s)",
)
parser.add_argument("--timestep", type=float, default=2.0, help="fs")
parser.add_argument("--thermostat", default="rescaling", choices=("rescaling", "langevin"))
parser.add_argument("--seed", type=int, default=0, help="of velocities and thermostat")
parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
parser.add_argument("--device", default="cpu")
parser.add_argument("--folder", "--output", type=Path, default="runs/molecular_dynamics")
parser.add_argument("--log-every", type=int, default=10, help="steps")
parser.add_argument("--frame-every", type=int, default=50, help="steps")
parser.add_argument("--save-minutes", type=float, default=1.0, help="between states")
parser.add_argument("--max-hours", type=float, help="save and end after this")
parser.add_argument("--min-distance", type=float, default=0.6, help="of covalent radii")
parser.add_argument("--max-drift", type=float, default=10.0, help="meV/atom, see docs")
options = parser.parse_args()
logging.basicConfig(level=logging.INFO, format="%(message)s")


# %% The crystal and the model
def newest_model() -> Path:
    """The model file that was written last."""
    models = Path("runs").glob("*/model.safetensors")
    found = sorted(models, key=lambda path: path.stat().st_mtime)
    if not found:
        parser.error("there is no runs/*/model.safetensors: `make train` first, or --model")
    return found[-1]


def crystal() -> Atoms:
    """The structure that was asked for, else magnesia, which the bundled sample knows."""
    if options.repeat < 1:
        raise ValueError(f"--repeat {options.repeat}: give 1 or more")
    try:
        if options.structure is None:
            atoms = bulk("MgO", "rocksalt", a=4.24, cubic=True)
        else:
            atoms = read(options.structure)
    except Exception as error:  # whatever the many readers of ASE raise
        raise ValueError(f"{options.structure} cannot be read: {error!r}") from error
    return atoms * tuple(options.repeat if periodic else 1 for periodic in atoms.pbc)


# %% Run, or go on: errors of the user and tripped wires are one message
try:
    model = options.model or newest_model()
    atoms = crystal()
    atoms.calc = MACECalculator(model, device=options.device, dtype=options.dtype)
    run = MDRun(
        atoms,
        options.folder,
        TemperatureSchedule(options.stages, timestep=options.timestep),
        settings=MDSettings(
            thermostat=options.thermostat,
            seed=options.seed,
            log_every=options.log_every,
            frame_every=options.frame_every,
        ),
        wires=TripWires(min_distance=options.min_distance, drift=options.max_drift),
        save_minutes=options.save_minutes,
        max_hours=options.max_hours,
    )
    logging.info("%s, %s, into %s", model, atoms.get_chemical_formula(), options.folder)
    outcome = run.run()

    logging.info("%s after %d steps", outcome, run.step)
    stages = summarize(options.folder, run.schedule)
    for summary in stages:
        logging.info("%s", summary)
    figure = options.folder / "molecular_dynamics.png"
    draw_run(figure, options.folder)
    logging.info("figure: %s", figure)
    if outcome == "finished" and stages:
        lost, drift = 100 * (1 - stages[-1].bonds_kept), stages[-1].drift_rate
        gates = [Gate("bonds lost at the end (%)", lost, 1.0)]
        gates += [Gate("drift of the last stage (meV/atom/ps)", drift, 0.1)]
        write_gates(options.folder, gates)
except (TripWireError, ValueError, OSError) as error:
    sys.exit(f"error: {error}")
except KeyboardInterrupt:
    logging.info("interrupted; the same command goes on in %s", options.folder)
    sys.exit(130)
