"""In a process of its own: how long until a set is open, until its first step begins?"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, NoReturn

from process_memory import family_memory, own_memory


def _open(folder: str) -> dict[str, Any]:
    from mace_train.data.cache import open_store
    from mace_train.data.labels import LabelKeys

    def opened() -> float:
        begin = time.perf_counter()
        store = open_store(folder, keys=LabelKeys(), r_max=6.0)
        assert store.census.num_frames == len(store) > 0
        return time.perf_counter() - begin

    return {"open_seconds": [opened() for _ in range(3)]}


def _first_step(*overrides: str) -> NoReturn:
    begin = float(os.environ["BENCHMARK_BEGAN"])  # before this process was started
    from mace_train.cli import run_train  # noqa: F401 - what training imports
    from mace_train.cli.train import main
    from mace_train.training.module import MACEModule

    found = {"imports": time.time() - begin}
    step = MACEModule.training_step

    def first_step(module: MACEModule, *arguments: Any, **more: Any) -> NoReturn:
        found["step_begins"] = time.time() - begin
        found["cpu_until_step"] = time.process_time()
        found["memory_MB"] = family_memory()
        found["private_MB"] = sum(own_memory())
        step(module, *arguments, **more)
        found["step_ends"] = time.time() - begin
        print(json.dumps(found), flush=True)
        os._exit(0)

    MACEModule.training_step = first_step  # type: ignore[method-assign]
    sys.argv = ["mace-train", *overrides]
    main()
    raise AssertionError("no step was made")


if __name__ == "__main__":
    if sys.argv[1] == "open":
        print(json.dumps(_open(sys.argv[2])))
    else:
        _first_step(*sys.argv[2:])
