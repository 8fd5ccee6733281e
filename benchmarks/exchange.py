"""Do models survive the way to mace-torch and back? Every form, both directions, one table.

    python benchmarks/exchange.py                       (or: make parity, which begins so)

Models with random weights are made by mace-torch and by ours, read by the other code
(`load_model`, `mace-export format=mace_torch`), and all energies, forces and stresses are
compared: they have to agree to 1e-10 in float64. `exchange_peer.py` does it, in an
environment that has both codes.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from mace_torch_peer import PACKAGES, environment_python, install_ours

LIMITS = {"float64": 1e-10, "float32": 2e-4}  # eV, eV/Å, eV/Å^3
SAME_TENSORS = 1e-14  # U matrices are computed by both codes, and are of order one
HEADER = "| model | direction | energy, eV | forces, eV/Å | stress, eV/Å^3 | state dict |"


def run_peer(python: Path, work_dir: Path, forms: list[str]) -> list[dict[str, Any]]:
    """All comparisons, as they come; one that is done is shown."""
    script = Path(__file__).with_name("exchange_peer.py")
    command = [str(python.absolute()), str(script.absolute()), str(work_dir), *forms]
    rows = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("ROW "):
                rows.append(json.loads(line.removeprefix("ROW ")))
                print(table_row(rows[-1]), flush=True)
    if process.returncode:
        raise SystemExit(f"{script.name} failed (above)")
    return rows


def is_wrong(row: dict[str, Any]) -> bool:
    """Whether a comparison is beyond its limit; NaN is."""
    values = [row[name] for name in ("energy", "forces", "stress") if row[name] is not None]
    within = all(value <= LIMITS[row["dtype"]] for value in values)
    limit = SAME_TENSORS if row["dtype"] == "float64" else 1e-6
    return not (within and row.get("state", 0.0) <= limit)


def table_row(row: dict[str, Any]) -> str:
    """One comparison as a row of Markdown."""
    head = "" if row.get("head", "Default") == "Default" else f", head {row['head']}"
    numbers = [
        "-" if row.get(name) is None else f"{row[name]:.1e}"
        for name in ("energy", "forces", "stress", "state")
    ]
    mark = " **too much**" if is_wrong(row) else ""
    return f"| {row['model']}{head} | {row['direction']} | {' | '.join(numbers)}{mark} |"


def report(rows: list[dict[str, Any]]) -> str:
    """The table with what was compared, as Markdown."""
    lines = [
        "# Models to mace-torch and back",
        "",
        f"`python benchmarks/exchange.py`, {time.strftime('%Y-%m-%d')}, "
        f"{platform.processor() or platform.machine()}, {' '.join(PACKAGES)}.",
        "",
        "Largest deviations over crystals, a slab, a molecule and a lone atom, with random",
        "weights whose forces are of the order of 10 eV/Å; the repulsion of 0b3 and of the",
        "model with three heads comes on top. Limit: 1e-10 in float64. The published forms",
        "have full width (128 channels, 89 elements). State dict: largest difference of a",
        "tensor, of those that mace-torch derives too.",
        "",
        HEADER,
        "|---" * 6 + "|",
        *(table_row(row) for row in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run, print the table, keep it, and fail if a row is beyond its limit."""
    parser = argparse.ArgumentParser(description="Round trips between ours and mace-torch.")
    parser.add_argument("--environment", type=Path, default=Path(".env-mace-torch"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("forms", nargs="*", help="names of forms; all if none is given")
    args = parser.parse_args()
    python = environment_python(args.environment)
    install_ours(python)
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory(prefix="exchange-") as folder:
        rows = run_peer(python, Path(folder), args.forms)
    if not args.forms:
        args.output.mkdir(parents=True, exist_ok=True)
        (args.output / "exchange.md").write_text(report(rows))
        (args.output / "exchange.json").write_text(json.dumps(rows, indent=1))
    wrong = [row for row in rows if is_wrong(row)]
    print(f"{len(rows)} comparisons, {len(wrong)} beyond the limit")
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
