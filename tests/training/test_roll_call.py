"""The table of ranks, and what it refuses."""

import logging
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_launch import SRUN, TORCHRUN

from mace_train.training.roll_call import (
    RankRow,
    describe_rank,
    rank_table,
    require_equal_configs,
)

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    for name in os.environ:
        if name.startswith("SLURM") or name in TORCHRUN:
            monkeypatch.delenv(name)


def test_a_rank_tells_where_it_computes(monkeypatch):
    assert describe_rank(CPU, "ab") == RankRow(0, platform.node(), 0, "cpu", "ab")
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)
    row = describe_rank(CPU, "ab")
    assert (row.rank, row.local_rank) == (5, 1)


def test_the_table_has_a_line_for_each_rank():
    rows = [
        RankRow(rank, f"gpu{rank // 8}", rank % 8, "cuda:0 A100", "1a2b3c4d")
        for rank in range(16)
    ]
    header, *lines = rank_table(rows).splitlines()
    assert header.split() == ["rank", "host", "local", "rank", "device", "config"]
    assert len(lines) == 16
    assert lines[9].split() == ["9", "gpu1", "1", "cuda:0", "A100", "1a2b3c4d"]
    assert len({line.index("1a2b3c4d") for line in lines}) == 1


def test_one_process_logs_itself(caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    require_equal_configs({"config": {"seed": 0}}, device=CPU)
    assert platform.node() in caplog.text
    assert "cpu" in caplog.text


def hash_of(settings, caplog):
    caplog.clear()
    require_equal_configs(settings, device=CPU)
    return caplog.text.split()[-1]


def test_the_hash_is_that_of_the_config_but_for_what_may_differ(caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    settings = {
        "config": {"data": {"cache_dir": "a", "train": "x"}, "submit": {"time": "1"}},
        "statistics": {"scale": 1.0},
        "git_commit": "abc",
        "step": 0,
    }
    first = hash_of(settings, caplog)
    may_differ = {
        "config": {"data": {"cache_dir": "b", "train": "x"}, "submit": {"time": "2"}},
        "statistics": {"scale": 1.0 + 1e-15},
        "git_commit": None,
        "step": 17,
    }
    assert hash_of(settings | may_differ, caplog) == first
    other = {"data": {"cache_dir": "a", "train": "y"}, "submit": {"time": "1"}}
    assert hash_of(settings | {"config": other}, caplog) != first


RUN = """
import logging
import sys

import torch
import torch.distributed as dist

from mace_train.training.roll_call import require_equal_configs

logging.basicConfig(level=logging.INFO, format="%(message)s")
rank, store = int(sys.argv[1]), sys.argv[2]
address = f"file://{store}"
dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
config = {"optim": {"lr": 0.01 + rank, "name": "adam"}, "data": {"cache_dir": str(rank)}}
if rank == 1:
    config["only"] = "here"
if sys.argv[3] != "config":
    config = {"data": {"cache_dir": str(rank)}}
checksums = {"a.xyz": str(rank) if sys.argv[3] == "data" else "0"}
settings = {"config": config, "data_checksums": checksums}
try:
    require_equal_configs(settings, device=torch.device("cpu"))
except ValueError as error:
    print(f"refused: {error}")
dist.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("what_differs", ["config", "data", "nothing"])
def test_ranks_with_different_configs_all_stop_and_name_the_keys(what_differs, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(RUN)
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(tmp_path / "store"), what_differs],
            env=os.environ | {"PYTHONPATH": str(ROOT), "RANK": str(rank)}
            | {"LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
            | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [rank.communicate(timeout=120) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    assert said[0][1].count(platform.node()) == 2, "the table, by rank zero"
    assert platform.node() not in said[1][1]
    for out, _ in said:
        if what_differs == "nothing":
            assert out == ""
            continue
        assert "rank 1 of 2 has not that of rank 0" in out
        if what_differs == "data":
            assert "data_checksums.a.xyz=1 (rank 0: 0)" in out
            continue
        assert f"Rank 1 on {platform.node()}: optim.lr=1.01 (rank 0: 0.01)" in out
        assert "only=here (rank 0: absent)" in out
        assert "cache_dir" not in out
        assert "name" not in out.split("optim.lr")[1].split(".")[1]
