"""Run all examples at full size, and tell which of their figures pass their gates.

    python examples/gates.py                  # or: make examples
    python examples/gates.py --only phonons_silicon --again
    python examples/gates.py --model mine.safetensors      # another model, for all of them

Models come from `make example-models`; an example writes its figure and a gates.json into
examples/results/NAME/. It runs again if its model or its script is newer, or with --again.
The table in docs/examples.md, between its markers, is written from these files; that of
another model goes to examples/results/MODEL/gates.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from jobs import Job, JobQueue

ROOT = Path(__file__).parents[1]
MODELS, RESULTS = ROOT / "examples" / "models", ROOT / "examples" / "results"
PAGE, FIGURES = ROOT / "docs" / "examples.md", ROOT / "docs" / "figures"
CRYSTALS = ROOT / "examples" / "reference_crystals.py"
BEGIN, END = "<!-- gates: begin -->", "<!-- gates: end -->"
EXAMPLES = {
    "water": ("water.py", "water", ["--frames", "DATA/apps/water_192_120.extxyz"]),
    "proton_transfer": (
        "proton_transfer.py",
        "acac",
        ["--frames", "DATA/acac_train_300K.xyz", "DATA/acac_test_MD_300K.xyz"],
    ),
    "ice": ("ice.py", "ice", ["--data-dir", "DATA/"]),
    "co_oxidation": ("co_oxidation.py", "copper", []),
    "adsorption_scaling": ("adsorption_scaling.py", "surfaces", []),
    "co2_on_in2o3": ("co2_on_in2o3.py", "in2o3", []),
    "pourbaix": ("pourbaix.py", "oxides", []),
    "mofs": ("mofs.py", "mofs", ["--data-dir", "DATA/"]),
    "co2_in_mof": ("co2_in_mof.py", "mofs", ["--data-dir", "DATA/"]),
    "phonons_silicon": ("phonons.py", "silicon", ["--crystal", "Si"]),
    "phonons_nacl": ("phonons.py", "nacl", ["--crystal", "NaCl"]),
    "elastic_silicon": ("elastic_constants.py", "silicon", ["--crystal", "Si"]),
    "elastic_nacl": ("elastic_constants.py", "nacl", ["--crystal", "NaCl"]),
    "molecular_dynamics": (
        "molecular_dynamics.py",
        "silicon",
        [
            *("--structure", "DATA/mlearn_Si_test.extxyz", "--repeat", "1"),
            *("--timestep", "1", "--stages", "300:3", "300-900:3", "900:1", "nve:2"),
        ],
    ),
    "chgnet_comparison": (
        "chgnet_comparison.py",
        "silicon",
        ["--frames", "DATA/mlearn_Si_test.extxyz"],
    ),
}
"""Name: script, model, further arguments, in which DATA/ stands for --data-dir."""


@dataclass(frozen=True)
class Gate:
    """One figure of an example, and how large it may be.

    Attributes:
        name: What was measured, with its unit.
        value: The figure.
        limit: The largest absolute value that passes; None: told, and not judged.
        published: The published value and where it is from; empty if there is none.
    """

    name: str
    value: float
    limit: float | None = None
    published: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the figure is within its limit; None without one. NaN does not pass."""
        return None if self.limit is None else bool(abs(self.value) <= self.limit)


def write_gates(folder: Path, gates: list[Gate]) -> None:
    """Write gates.json into a folder, and a line for each gate to the terminal."""
    words = {True: "passed", False: "FAILED", None: "told"}
    rows = [
        {
            "name": gate.name,
            "value": round(float(gate.value), 6),
            "limit": gate.limit,
            "passed": gate.passed,
            "published": gate.published,
        }
        for gate in gates
    ]
    text = json.dumps(rows, indent=1, ensure_ascii=False)
    (folder / "gates.json").write_text(text + "\n", encoding="utf-8")
    for gate in gates:
        limit = "" if gate.limit is None else f" (at most {gate.limit:g})"
        print(
            f"{words[gate.passed]:7}{gate.name}: {gate.value:.4g}{limit} {gate.published}"
        )


def table(results: Path) -> str:
    """All gates.json in a folder's folders as one Markdown table."""
    words = {True: "yes", False: "**no**", None: ""}
    lines = ["| example | what | value | at most | passed | published |"]
    lines.append("|---|---|---|---|---|---|")
    for name in EXAMPLES:
        path = results / name / "gates.json"
        if not path.is_file():
            lines.append(f"| {name} | not run yet | | | | |")
            continue
        for row in json.loads(path.read_text(encoding="utf-8")):
            limit = "" if row["limit"] is None else f"{row['limit']:g}"
            cells = [name, row["name"], f"{row['value']:.4g}", limit]
            cells += [words[row["passed"]], row["published"]]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def with_table(page: str, rows: str) -> str:
    """The page with the table between its markers."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{rows}\n{END}{rest.split(END)[1]}"


def is_done(name: str, model: Path, results: Path) -> bool:
    """Whether the gates of an example are there, and newer than its sources and model."""
    script, taught, _ = EXAMPLES[name]
    structures = ROOT / "examples" / "structures" / f"{taught}.py"
    made_of = [ROOT / "examples" / script, model]
    made_of += [path for path in (structures, CRYSTALS) if path.is_file()]
    gates = results / name / "gates.json"
    return gates.is_file() and all(
        path.is_file() and path.stat().st_mtime < gates.stat().st_mtime for path in made_of
    )


def job(name: str, model: Path, results: Path, data_dir: Path) -> Job:
    """The example in a process of its own."""
    script, _, arguments = EXAMPLES[name]
    folder = results / name
    (folder / "gates.json").unlink(missing_ok=True)
    words = [sys.executable, str(ROOT / "examples" / script), "--output", str(folder)]
    words += ["--model", str(model)]
    words += [word.replace("DATA/", f"{data_dir.resolve()}/") for word in arguments]
    return Job(name, [words], results / f"{name}.log")


def name_of(model: Path) -> str:
    """Of the folder of its results; a run names all its models alike: that of the run."""
    return model.resolve().parent.name if model.stem == "model" else model.stem


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=EXAMPLES, default=list(EXAMPLES))
    parser.add_argument("--model", type=Path, help="for all of them, in place of their own")
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    parser.add_argument("--again", action="store_true", help="run what is done too")
    parser.add_argument("--jobs", type=int, default=1, help="so many at a time")
    return parser.parse_args()


def main() -> None:
    """Run what is asked for and not done, and write table and figures."""
    options = arguments()
    results = RESULTS / name_of(options.model) if options.model else RESULTS
    if options.model and not options.model.is_file():
        sys.exit(f"error: --model {options.model}: no such file")
    jobs = []
    for name in options.only:
        model = options.model or MODELS / EXAMPLES[name][1] / "model.safetensors"
        if options.again or not is_done(name, model, results):
            jobs.append(job(name, model, results, options.data_dir))
    failed = JobQueue(jobs, options.jobs).run()
    if options.model:
        page = results / "gates.md"
        page.write_text(table(results) + "\n", encoding="utf-8")
    else:
        page = PAGE
        rows = table(results)
        page.write_text(
            with_table(page.read_text(encoding="utf-8"), rows), encoding="utf-8"
        )
        for name in EXAMPLES:
            for figure in (results / name).glob("*.png"):
                shutil.copyfile(figure, FIGURES / f"example_{name}.png")
    print(f"table: {page}")
    if failed:
        sys.exit(f"error: {', '.join(failed)} did not come to the end; see above")


if __name__ == "__main__":
    main()
