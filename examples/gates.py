"""Run all examples at full size, and tell which of their figures pass their gates.

    python examples/gates.py                  # or: make examples
    python examples/gates.py --only phonons_silicon --again

Models come from `make example-models`; an example writes its figure and a gates.json into
examples/results/NAME/. It runs again if its model or its script is newer, or with --again.
The table in docs/examples.md, between its markers, is written from these files.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODELS, RESULTS = ROOT / "examples" / "models", ROOT / "examples" / "results"
PAGE, FIGURES = ROOT / "docs" / "examples.md", ROOT / "docs" / "figures"
BEGIN, END = "<!-- gates: begin -->", "<!-- gates: end -->"
EXAMPLES = {
    "water": ("water.py", "water", ["--frames", "DATA/apps/water_192_120.extxyz"]),
    "proton_transfer": (
        "proton_transfer.py",
        "acac",
        ["--frames", "DATA/acac_train_300K.xyz", "DATA/acac_test_MD_300K.xyz"],
    ),
    "phonons_silicon": ("phonons.py", "silicon", ["--crystal", "Si"]),
    "phonons_nacl": ("phonons.py", "nacl", ["--crystal", "NaCl"]),
    "elastic_silicon": ("elastic_constants.py", "silicon", ["--crystal", "Si"]),
    "elastic_nacl": ("elastic_constants.py", "nacl", ["--crystal", "NaCl"]),
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


def is_done(name: str) -> bool:
    """Whether the gates of an example are there, and newer than its scripts and model."""
    script, model, _ = EXAMPLES[name]
    scripts = [ROOT / "examples" / name for name in (script, "reference_crystals.py")]
    made_of = [*scripts, MODELS / model / "model.safetensors"]
    gates = RESULTS / name / "gates.json"
    return gates.is_file() and all(
        path.is_file() and path.stat().st_mtime < gates.stat().st_mtime for path in made_of
    )


def run(name: str, data_dir: Path) -> bool:
    """Run one example in a process of its own; whether it came to its end."""
    script, model, arguments = EXAMPLES[name]
    folder = RESULTS / name
    (folder / "gates.json").unlink(missing_ok=True)
    words = [sys.executable, str(ROOT / "examples" / script), "--output", str(folder)]
    words += ["--model", str(MODELS / model / "model.safetensors")]
    words += [word.replace("DATA/", f"{data_dir.resolve()}/") for word in arguments]
    print(f"== {name}", flush=True)
    return subprocess.run(words, check=False, cwd=ROOT).returncode == 0


def main() -> None:
    """Run what is asked for and not done, and write table and figures into the docs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=EXAMPLES, default=list(EXAMPLES))
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data"))
    parser.add_argument("--again", action="store_true", help="run what is done too")
    options = parser.parse_args()
    failed = [
        name
        for name in options.only
        if (options.again or not is_done(name)) and not run(name, options.data_dir)
    ]
    PAGE.write_text(
        with_table(PAGE.read_text(encoding="utf-8"), table(RESULTS)), encoding="utf-8"
    )
    for name in EXAMPLES:
        for figure in (RESULTS / name).glob("*.png"):
            shutil.copyfile(figure, FIGURES / f"example_{name}.png")
    print(f"table: {PAGE}")
    if failed:
        sys.exit(f"error: {', '.join(failed)} did not come to the end; see above")


if __name__ == "__main__":
    main()
