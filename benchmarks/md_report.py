"""What `md.py` measured, as Markdown and line by line."""

from __future__ import annotations

from typing import Any

import numpy as np
from md_crystal import CELL, DISPLACEMENT, TEMPERATURE
from step_processes import OURS, PEER

FASTER = {"small": 6.0, "medium": 7.0}  # what must be reached
LESS_MEMORY = 5.0
LARGEST, MOST_MEMORY = 4000, 4096.0  # atoms, and MB that they may take

Row = dict[str, Any]


def step_time(row: Row, code: str) -> float | None:
    """Median seconds a step; None if the code took none."""
    return float(np.median(row["seconds"][code])) if code in row["seconds"] else None


def memory(row: Row, code: str) -> float:
    """MB over the model: the peak; until it failed, if the code did."""
    state = row["state"].get(code)
    return state["peak"] - state["before"] if state else np.nan


def printed(row: Row) -> str:
    """A line for people."""
    times = [step_time(row, code) for code in (PEER, OURS)]
    shown = " / ".join("-" if time is None else f"{1e3 * time:.0f}" for time in times)
    agreement = "of one code alone"
    if same := row.get("same"):
        agreement = (
            f"dE {same['energy']:.1e} eV/atom, dF {same['forces']:.1e} eV/Å of rms "
            f"{same['size']:.1e}"
        )
    return (
        f"{row['model']}, {row['atoms']} atoms, {row['dtype']}: {shown} ms a step = "
        f"{_ratio(row)}; memory over the model {memory(row, PEER):.0f} / "
        f"{memory(row, OURS):.0f} MB = {_memory_ratio(row)}; first frame: {agreement}"
        + "".join(f"; {code} was {reason}" for code, reason in row["failed"].items())
    )


def markdown(results: dict[str, Any]) -> str:
    """The whole report."""
    rows = results["rows"]
    return "\n".join([_heading(results), _speed(rows), _memory(rows), _sameness(rows)])


def _heading(results: dict[str, Any]) -> str:
    rows = results["rows"]
    versions = "; ".join(
        f"{code}: " + ", ".join(f"{name} {version}" for name, version in found.items())
        for code, found in results["versions"].items()
    )
    settings = ", ".join(f"`{n}={v}`" for n, v in results["environment"].items())

    def of_rows(key: str) -> str:
        return " and ".join(sorted({str(row[key]) for row in rows}))

    loads = [row["load"] for row in rows]
    return (
        "# Molecular dynamics: mace-train and mace-torch\n\n"
        f"{of_rows('date')}, {of_rows('processor')}, 1 thread. Command: "
        f"`{results['command']}`, commit {of_rows('commit')}; load average before the rows "
        f"{min(loads):.1f}-{max(loads):.1f}. {versions}.\n\n"
        f"Both: {settings}, denormal numbers flushed, one core, equal weights (random, "
        "in the form of MACE-MP-0 small and medium, 89 elements, 6 Å), each code's own ASE "
        "calculator with its defaults. ASE's VelocityVerlet, 1 fs, equal initial "
        f"velocities ({TEMPERATURE:.0f} K). (Ba, Sr)(Ti, Zr, Hf, Sn)O3, a perovskite with "
        f"sites filled at random, a = {CELL[0]} Å, rattled by {DISPLACEMENT} Å: 61 "
        "neighbors within 6 Å. The codes take turns; a turn of ours has more steps, so "
        "that it has its share of new neighbor lists. Random weights hardly hold the "
        "atoms, which move farther than in a real crystal: more lists, not fewer.\n"
    )


def _speed(rows: list[Row]) -> str:
    lines = [
        "Medians over the turns; in brackets the range of the ratio of turns.\n",
        "| | must | ratio | mace-torch, steps/s | mace-train, steps/s | mace-torch, "
        "ms an atom | mace-train, ms an atom | turns | steps a turn |",
        "|---" * 9 + "|",
    ]
    for row in rows:
        times = {code: step_time(row, code) for code in (PEER, OURS)}
        rates = [_or_dash(t and 1 / t, "{:.3g}") for t in times.values()]
        ms = [_or_dash(t and 1e3 * t / row["atoms"], "{:.3f}") for t in times.values()]
        must = f"{FASTER[row['model']]:g}" if row["dtype"] == "float32" else "-"
        steps = f"{row['steps'][PEER]}, {row['steps'][OURS]}"
        cells = [_title(row), must, _ratio(row), *rates, *ms, str(row["turns"]), steps]
        lines.append("| " + " | ".join(cells) + " |")
    failures = [
        f"{_title(row)}: {code} was {reason}, where ours had {memory(row, OURS):.0f} MB."
        for row in rows
        for code, reason in row["failed"].items()
    ]
    return "\n".join([*lines, "", *failures]) + ("\n" if failures else "")


def _memory(rows: list[Row]) -> str:
    lines = [
        "Memory: the highest resident memory of all steps, the first one included, above "
        "that of the process with its model loaded and two atoms computed (code is loaded "
        f"when it is first used). With {LARGEST} atoms the whole process of ours must stay "
        f"below {MOST_MEMORY:.0f} MB.\n",
        "| | must | times less | mace-torch, MB | mace-train, MB | whole processes, MB |",
        "|---" * 6 + "|",
    ]
    for row in rows:
        form = "more than {:.0f}" if PEER in row["failed"] else "{:.0f}"
        MB = [_or_dash(memory(row, PEER), form), _or_dash(memory(row, OURS), "{:.0f}")]
        peaks = [row["state"].get(code, {"peak": None})["peak"] for code in (PEER, OURS)]
        whole = ", ".join(_or_dash(peak, "{:.0f}") for peak in peaks)
        must = f"{LESS_MEMORY:g}" if row["dtype"] == "float32" else "-"
        cells = [_title(row), must, _memory_ratio(row), *MB, whole]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _sameness(rows: list[Row]) -> str:
    lines = [
        "The same numbers, on the first frame; and the temperature of ours at the end.\n",
        "| | energy, eV an atom | largest difference of forces, eV/Å | rms force, eV/Å "
        "| K |",
        "|---" * 5 + "|",
    ]
    for row in rows:
        values = row.get("same", {})
        shown = [_or_dash(values.get(n), "{:.1e}") for n in ("energy", "forces", "size")]
        temperature = f"{row['state'][OURS]['temperature']:.0f}"
        lines.append("| " + " | ".join([_title(row), *shown, temperature]) + " |")
    return "\n".join(lines) + "\n"


def _title(row: Row) -> str:
    return f"{row['model']}, {row['atoms']} atoms, {row['dtype']}"


def _ratio(row: Row) -> str:
    theirs, ours = step_time(row, PEER), step_time(row, OURS)
    if theirs is None or ours is None:
        return "-"
    each = np.array(row["seconds"][PEER]) / np.array(row["seconds"][OURS])
    return f"{theirs / ours:.2f} ({each.min():.2f}-{each.max():.2f})"


def _memory_ratio(row: Row) -> str:
    ratio = memory(row, PEER) / memory(row, OURS)
    return _or_dash(ratio, "> {:.1f}" if PEER in row["failed"] else "{:.1f}")


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None or np.isnan(value) else form.format(value)
