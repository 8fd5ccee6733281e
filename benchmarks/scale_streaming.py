"""How fast does mace-prepare stream frames to shards, and in how much memory?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from process_memory import memory_tracked
from scale_commands import started
from scale_frames import write_rattled

from mace_train.data.store import FrameStore


def measure_streaming(
    originals: Path, folder: Path, *, num_frames: int, workers: int
) -> dict[str, Any]:
    """Rate, memory and size.

    Args:
        originals: A shard of frames to be repeated.
        folder: For the input and the shards.
        num_frames: Frames to stream.
        workers: Processes.
    """
    source, shards = folder / "frames.extxyz", folder / "streamed"
    write_rattled(originals, source, num_frames=num_frames)
    begin = time.perf_counter()
    with (
        started(
            "mace-prepare",
            *(f"data.train={source}", f"output={shards}", f"workers={workers}"),
        ) as process,
        memory_tracked(process.pid) as memory,
    ):
        _, errors = process.communicate()
    seconds = time.perf_counter() - begin
    if process.returncode:
        raise RuntimeError(f"mace-prepare ended with {process.returncode}:\n{errors}")
    paths = sorted(shards.glob("*.h5"))
    assert len(FrameStore(paths)) == num_frames, "frames were lost"
    found = {
        "frames": num_frames,
        "workers": workers,
        "input_GB": source.stat().st_size / 1e9,
        "seconds": seconds,
        "frames_a_second_and_core": num_frames / seconds / workers,
        "peak_MB": memory.peak,
        "growth": memory.growth,
        "bytes_a_frame": sum(path.stat().st_size for path in paths) / num_frames,
    }
    source.unlink()
    for path in paths:
        path.unlink()
    return found
