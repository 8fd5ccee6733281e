"""What `scale.py` measured, as one table."""

from __future__ import annotations

from typing import Any

Row = tuple[str, str, str, bool | None]
"""A question, what was measured, what is asked, and whether that is reached."""


def markdown(results: dict[str, Any]) -> str:
    """The report."""
    lines = [
        "# Scale",
        "",
        f"{results['date']}, {results['processor']}, {results['cores']} cores (load "
        f"{results['load_before']:.1f} before), Python "
        f"{results['versions']['python']}, torch {results['versions']['torch']}. Command: "
        f"`{results['command']}`, commit {results['commit']}. Frames: "
        f"{results['originals']}, repeated.",
        "",
        "| question | measured | asked | |",
        "|---|---|---|---|",
    ]
    makers = {
        "balance": _balance,
        "streaming": _streaming,
        "opening": _opening,
        "loader": _loader,
        "ranks": _ranks,
        "resume": _resume,
    }
    for name, rows in makers.items():
        found = results["found"].get(name)
        if found is None:
            continue
        if "failed" in found:
            lines.append(f"| {name} | failed: {found['failed']} | | no |")
            continue
        for question, measured, asked, reached in rows(found):
            mark = {True: "yes", False: "**no**", None: ""}[reached]
            lines.append(f"| {question} | {measured} | {asked} | {mark} |")
    return "\n".join(lines) + "\n"


def _balance(found: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for case, one in found.items():
        asked = case in ("8 x 16", "64 x 16")
        rows.append(
            (
                f"edges, mean over largest of ranks, {case} frames a rank",
                f"{one['dealt']:.4f} (plain sampling {one['plain']:.2f}); largest share "
                f"{one['largest_dealt']:,} edges ({one['largest_plain']:,}); epoch dealt "
                f"in {one['seconds']:.2f} s",
                "0.98" if asked else "",
                one["dealt"] >= 0.98 if asked else None,
            )
        )
    return rows


def _streaming(found: dict[str, Any]) -> list[Row]:
    title = f"mace-prepare, {found['frames']:,} frames, {found['workers']} processes"
    rate, size = found["frames_a_second_and_core"], found["bytes_a_frame"]
    return [
        (f"{title}: frames/s a core", f"{rate:.0f}", "400", rate >= 400),
        (
            "memory of all processes, peak; last third over middle third of the time",
            f"{found['peak_MB']:.0f} MB; {found['growth']:.2f}",
            "1000 MB, flat",
            found["peak_MB"] < 1000 and found["growth"] < 1.1,
        ),
        ("bytes a frame", f"{size:.0f}", "1400", size <= 1400),
    ]


def _opening(found: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    title = f"{found['frames']:,} frames in {found['shards']} shards"
    slowest = max(found["open_seconds"])
    rows.append((f"{title}: open", f"{slowest:.2f} s", "2 s", slowest < 2))
    for name, one in found["first_step"].items():
        begins, imports = one["step_begins"], one["imports"]
        rows.append(
            (
                f"from the command's start to its first step, {name}",
                f"{begins:.1f} s, of which imports {imports:.1f} s; "
                f"{one['cpu_until_step']:.1f} s of one core; {one['memory_MB']:.0f} MB, "
                f"{one['private_MB']:.0f} MB of them its own",
                "10 s",
                begins < 10,
            )
        )
    return rows


def _loader(found: dict[str, Any]) -> list[Row]:
    rates = found["frames_a_second"][1:]  # the first epoch starts the workers
    shown = [" / ".join(f"{mb:.0f}" for mb in memory) for memory in found["own_MB"]]
    middle, last = found["own_MB"][len(shown) // 2], found["own_MB"][-1]
    return [
        (
            f"loader, {found['workers']} workers, r_max {found['r_max']} Å, "
            f"{found['mean_edges']:.0f} edges a frame: frames/s",
            f"{min(rates):.0f} to {max(rates):.0f}; "
            f"{found['main_process_us_a_frame']:.0f} us a frame in the main process",
            "500",
            min(rates) >= 500,
        ),
        (
            f"its memory over {len(shown)} epochs, without mapped shards: main process and "
            "each worker after the first, the middle and the last",
            f"{shown[0]}, {shown[len(shown) // 2]}, {shown[-1]} MB; "
            f"{found['whole_MB']:.0f} MB in all, mapped shards and libraries included",
            "flat",
            sum(last) < 1.02 * sum(middle),
        ),
    ]


def _ranks(found: dict[str, Any]) -> list[Row]:
    return [
        (
            f"{ranks} ranks against 1, float64: largest difference of a weight after "
            f"{found['steps']} steps",
            f"{difference:.1e}",
            "1e-10",
            difference < 1e-10,
        )
        for ranks, difference in found["difference"].items()
    ]


def _resume(found: dict[str, Any]) -> list[Row]:
    at = found["killed_after"]
    return [
        (
            f"killed in epoch {at['epoch']} after batch {at['batches_done']} of "
            f"{at['num_batches']} and gone on, against unbroken: largest difference",
            f"{found['difference']:.1e}",
            "0",
            found["difference"] == 0,
        )
    ]
