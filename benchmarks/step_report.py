"""What `step.py` measured, as Markdown: the targets, the times, the limit, the profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from step_processes import OURS, PEER

TARGETS = {  # by measure and size: what must be reached, and the goal
    ("train", "small"): (4.5, 7),
    ("train", "medium"): (5, 8),
    ("infer", "small"): (6, 9),
    ("infer", "medium"): (7, 10),
    ("memory", "small"): (5, 7),
    ("memory", "medium"): (8, 12),
    ("train", "mace_tiny"): (2, 4),
}
MEASURES = {
    "train": "training step",
    "infer": "energy + forces + stress",
    "memory": "peak memory over the model, training",
}

Results = dict[str, Any]


def processor() -> str:
    """Name of the processor, as Linux has it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


def markdown(results: Results) -> str:
    """The whole report."""
    parts = [_heading(results), _times(results["sizes"], results["operations_a_second"])]
    parts += [_memory(results["sizes"]), _preparation(results["sizes"])]
    if results["two_cores"]:
        parts.append(_two_cores(results["two_cores"]))
    if results["default_allocator"]:
        title = "## With malloc's own settings\n\n"
        title += "Not the headline: large buffers then cost page faults in every step.\n\n"
        parts.append(title + _times(results["default_allocator"], None))
    parts.append(_sameness(results["sizes"]))
    if results["profile"]:
        size, table = results["profile"]
        title = f"## Profile of one training step of ours, {size}, by own time"
        lines = "\n".join(line.rstrip() for line in table.strip().splitlines())
        parts.append(f"{title}\n\n```\n{lines}\n```\n")
    return "\n".join(parts)


def _heading(results: Results) -> str:
    versions = "; ".join(
        f"{code}: " + ", ".join(f"{name} {version}" for name, version in found.items())
        for code, found in results["versions"].items()
    )
    settings = ", ".join(f"`{n}={v}`" for n, v in results["environment"].items())
    return (
        "# One training step, one prediction: mace-train and mace-torch\n\n"
        f"{results['date']}, {results['processor']}, {results['threads']} thread(s). "
        f"Command: `{results['command']}`, commit {results['commit']}. {versions}.\n\n"
        f"Both: {settings}, denormal numbers flushed, float32, equal weights, equal "
        "batches of 8 crystals (10-60 atoms, 89 elements), the two codes taking turns "
        "batch by batch; medians. A training step is the universal loss on energy, forces "
        "and stress, its gradient, clipping, and Adam with amsgrad; batches are made "
        "beforehand.\n"
    )


def _times(sizes: Results, rate: float | None) -> str:
    """Ratios beside their targets; the limit if the rate of products is known."""
    limit_note = (
        f" Limit: all matrix products of our step at {rate / 1e9:.0f} GFLOP/s, the best "
        "that float32 products of any shape reach on these cores; nothing else counted.\n"
        if rate
        else "\n"
    )
    lines = [
        "Ratio: mace-torch / mace-train, in brackets its range over the steps."
        + limit_note,
        "| | must | goal | ratio | mace-torch, ms an atom | mace-train, ms an atom "
        "| limit, ms an atom | steps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for mode in ("train", "infer"):
        for size, found in sizes.items():
            times = found[mode]
            must, goal = TARGETS.get((mode, size), ("-", "-"))
            ratio = f"{times['ratio']:.2f} ({times['lowest_ratio']:.2f}-"
            ratio += f"{times['highest_ratio']:.2f})"
            ms = times["ms_an_atom"]
            limit = f"{1e3 * times['operations_an_atom'] / rate:.3f}" if rate else "-"
            lines.append(
                f"| {MEASURES[mode]}, {size} | {must} | {goal} | {ratio} | {ms[PEER]:.3f} "
                f"| {ms[OURS]:.3f} | {limit} | {times['steps']} |"
            )
    return "\n".join(lines) + "\n"


def _memory(sizes: Results) -> str:
    lines = [
        "Memory of a fresh process: the highest resident memory in three training steps, "
        "on the largest batches, above that with model and batches loaded; gradients and "
        "Adam's state (four times the weights) are part of it.\n\n"
        "| | must | goal | times less | mace-torch, MB | mace-train, MB |",
        "|---|---|---|---|---|---|",
    ]
    for size, found in sizes.items():
        must, goal = TARGETS.get(("memory", size), ("-", "-"))
        MB, ratio = found["memory"]["MB"], found["memory"]["ratio"]
        lines.append(
            f"| {MEASURES['memory']}, {size} | {must} | {goal} | {ratio:.2f} "
            f"| {MB[PEER]:.0f} | {MB[OURS]:.0f} |"
        )
    return "\n".join(lines) + "\n"


def _preparation(sizes: Results) -> str:
    lines = [
        "Making batches, which loader processes do beside the steps, ms an atom:\n",
        "| | mace-torch: graph, collate | mace-train: graph, collate |",
        "|---|---|---|",
    ]
    for size, found in sizes.items():
        cells = [
            f"{found['loaded'][code]['graph_ms_an_atom']:.3f}, "
            f"{found['loaded'][code]['collate_ms_an_atom']:.3f}"
            for code in (PEER, OURS)
        ]
        lines.append(f"| {size} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def _two_cores(sizes: dict[str, dict[str, float]]) -> str:
    names = list(next(iter(sizes.values())))
    lines = [
        "## Two cores\n\nTraining step, ms an atom; two ranks: two processes of one "
        "thread, each with half of every batch, gradients averaged by gloo.\n",
        "| | " + " | ".join(names) + " |",
        "|---" * (1 + len(names)) + "|",
    ]
    for size, found in sizes.items():
        cells = " | ".join(f"{found[name]:.3f}" for name in names)
        lines.append(f"| {size} | {cells} |")
    return "\n".join(lines) + "\n"


def _sameness(sizes: Results) -> str:
    lines = [
        "## The same numbers\n\nRelative and norm-wise, tensor by tensor; four small "
        "crystals. float64 compares ours with mace-torch; float32 is the error of each "
        "code against mace-torch in float64. Weights: the worst tensor.\n",
        "| | energy | forces | stress | loss | gradient | worst gradient |",
        "|---|---|---|---|---|---|---|",
    ]
    columns = ("energy", "forces", "stress", "loss", "gradient", "worst")
    for size, found in sizes.items():
        same = found["same"]
        rows = {f"{size}, float64": same["float64"]}
        rows |= {f"{size}, float32, {code}": e for code, e in same["float32"].items()}
        for name, values in rows.items():
            cells = " | ".join(f"{values[column]:.1e}" for column in columns)
            lines.append(f"| {name} | {cells} |")
    lines += ["", "| after training steps, float64 | loss | weights |", "|---|---|---|"]
    for size, found in sizes.items():
        for number, values in found["same"]["steps"].items():
            cells = f"{values['loss']:.1e} | {values['worst']:.1e}"
            lines.append(f"| {size}, {number} | {cells} |")
    return "\n".join(lines) + "\n"
