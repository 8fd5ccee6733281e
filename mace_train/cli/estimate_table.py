"""How an estimate is shown: a table, and what has to be said of its numbers.

Floor 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mace_train.data.parallel import num_cores
from mace_train.training.estimate import EXTRAPOLATION, SAFETY

if TYPE_CHECKING:
    from mace_train.cli.planned_ranks import PlannedRanks
    from mace_train.training.estimate import Estimate
    from mace_train.training.memory import MemoryRoom

_UNKNOWN = "not known here"


def estimate_table(
    estimate: Estimate,
    ranks: PlannedRanks,
    *,
    numbers: dict[str, Any],
    room: MemoryRoom | None,
) -> str:
    """The table as text, with notes below.

    Args:
        estimate: What the run takes.
        ranks: Its processes.
        numbers: What `cli.run_estimate` has made of both.
        room: Memory of one process on this machine.
    """
    rows = [
        ("run", _describe(ranks)),
        *_cost_rows(estimate),
        *_memory_rows(estimate, ranks, room),
        *_epoch_rows(estimate, numbers),
        *_time_rows(estimate, ranks, numbers),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}   {value}" for name, value in rows]
    notes = [f"- {note}" for note in _notes(estimate, ranks)]
    return "\n".join(["", "estimate (nothing is trained)", *lines, "", *notes, ""])


def duration(seconds: float | int) -> str:
    """Seconds as a person says them.

    >>> duration(0.25), duration(75), duration(5400), duration(400000)
    ('0.25 s', '75 s', '90 min', '111 h')
    """
    for unit, size in (("s", 1), ("min", 60), ("h", 3600)):
        if seconds < 120 * size or unit == "h":
            return f"{seconds / size:.3g} {unit}"
    raise AssertionError


def _describe(ranks: PlannedRanks) -> str:
    what = "GPU" if ranks.on_gpus else "process"
    plural = {"GPU": "GPUs", "process": "processes"}[what] if ranks.total > 1 else what
    nodes = f", {ranks.per_node} on each of {ranks.num_nodes} machines"
    where = "" if ranks.on_gpus else " on a CPU"
    return f"{ranks.total} {plural}{where}{nodes if ranks.num_nodes > 1 else ''}"


def _cost_rows(estimate: Estimate) -> list[tuple[str, str]]:
    costs = estimate.costs
    memory = "cannot be measured on this system"
    if costs.memory is not None:
        fixed, per_edge = costs.memory.fixed / 1e9, costs.memory.per_edge / 1e3
        memory = f"{per_edge:.3g} kB an edge, and {fixed:.2f} GB besides"
    step, sizes = costs.gradient, ", ".join(f"{size:,}" for size in costs.sizes)
    return [
        ("measured with", f"micro-batches of {sizes} edges"),
        ("memory", memory),
        ("step", f"{1e6 * step.per_edge:.3g} us an edge, and {1e3 * step.fixed:.3g} ms"),
    ]


def _memory_rows(
    estimate: Estimate, ranks: PlannedRanks, room: MemoryRoom | None
) -> list[tuple[str, str]]:
    fits, memory = estimate.capacity, estimate.costs.memory
    if fits is None or room is None or memory is None:
        if memory is None or not memory.per_edge or not ranks.lack_their_gpus:
            return [("fits into memory", _UNKNOWN)]
        return [("fits into memory", f"about {1e9 / memory.per_edge:,.0f} edges a GB")]
    bound = (
        f"; memory allows more, but {EXTRAPOLATION} times what was measured is the limit"
        if fits.is_measured_bound
        else ""
    )
    used = f"{100 * SAFETY:.0f} % of {room.num_bytes / 1e9:.1f} GB, {room.source}"
    frames = estimate.largest_batch_per_rank
    largest = int(estimate.train.costs.max())
    batch = (
        f"none: the largest frame has {largest:,} edges, which may be too many"
        if not frames
        else f"data.batch_size_per_rank={frames} without micro-batches"
    )
    return [
        ("fits into memory", f"{fits.max_edges:,} edges ({used}{bound})"),
        ("largest batch", batch),
    ]


def _epoch_rows(estimate: Estimate, numbers: dict[str, Any]) -> list[tuple[str, str]]:
    workload = estimate.workload
    frames = workload.batch_size / estimate.num_ranks
    sizes = f"{workload.batch_size} frames ({frames:.3g} a rank)"
    count = workload.parts_per_step
    bound = estimate.max_edges
    cut = "shares are not cut" if bound is None else f"of at most {bound:,} edges"
    return [
        ("epoch", f"{workload.num_frames:,} frames, {numbers['edges_per_epoch']:,} edges"),
        ("steps", f"{workload.num_steps:,} of {sizes}"),
        ("largest share", f"{workload.largest_share:,} edges on one rank in one step"),
        ("micro-batches", f"{count:.3g} a step; {cut}"),
        ("balance", f"{workload.balance:.2f} (mean over largest load of the ranks)"),
    ]


def _time_rows(
    estimate: Estimate, ranks: PlannedRanks, numbers: dict[str, Any]
) -> list[tuple[str, str]]:
    training, validation = estimate.training_seconds, estimate.validation_seconds
    epoch = (
        f"{duration(training + validation)} ({duration(training)} of training, "
        f"{duration(validation)} of validation)"
    )
    if ranks.lack_their_gpus:
        return [
            ("time an epoch", f"{epoch} if each GPU were one CPU process of this machine"),
            ("in all", f"hours and GPU-hours are {_UNKNOWN}: there is no GPU"),
        ]
    cost = (
        f"{numbers['gpu_hours']:.3g} GPU-hours"
        if ranks.on_gpus
        else f"{numbers['core_hours']:.3g} core-hours"
    )
    epochs = f"{estimate.max_epochs} epochs"
    return [
        ("time an epoch", epoch),
        ("in all", f"{estimate.hours:.3g} h for {epochs}, {cost}"),
    ]


def _notes(estimate: Estimate, ranks: PlannedRanks) -> list[str]:
    notes = []
    imbalance = estimate.imbalance()
    if imbalance:
        notes.append(imbalance)
    if ranks.lack_their_gpus:
        notes.append(
            "the run is for GPUs and this machine has none, so the steps ran on its CPU: "
            "times say nothing of a GPU, and memory is that of the CPU's backend; the same "
            "command on a GPU node measures both"
        )
    elif not ranks.on_gpus:
        notes.append(
            "times are those of this machine's CPU with nothing else running beside one "
            "process; a node whose cores are all busy is slower, another CPU differs"
        )
        if ranks.per_node > num_cores():
            notes.append(
                f"{ranks.per_node} processes would take turns on the {num_cores()} cores "
                "of this machine, which is not included"
            )
    if not ranks.are_counted:
        notes.append(
            "trainer.devices=auto counts as one here: say trainer.devices=N "
            "trainer.num_nodes=M, or submit=slurm with its nodes"
        )
    if ranks.total > 1:
        notes.append("communication between ranks is not included")
    if estimate.max_edges is None and estimate.capacity is not None:
        share, fits = estimate.workload.largest_share, estimate.capacity.max_edges
        if share > fits:
            notes.append(
                f"the largest share of a rank, {share:,} edges, may not fit: set "
                f"data.max_edges=auto or {fits}; no result depends on it"
            )
    notes.append("checkpoints, start, early stopping and the final report are not included")
    return notes
