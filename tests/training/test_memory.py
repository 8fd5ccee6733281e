import numpy as np
import pytest
import torch

from mace_train.training.memory import HostMemory, memory_gauge

MB = 2**20


@pytest.fixture
def proc(tmp_path):
    """Files as Linux shows them, of a process of 100 MB and a machine of 8000 MB."""
    folder = tmp_path / "proc"
    (folder / "self").mkdir(parents=True)
    (folder / "self/status").write_text(f"VmHWM: {120 * 1024} kB\nVmRSS: {100 * 1024} kB\n")
    (folder / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {7900 * 1024} kB\n")
    return folder


def gauge(proc, tmp_path):
    return HostMemory(proc, tmp_path / "cgroup")


def test_processes_share_what_is_available_and_what_they_hold(proc, tmp_path):
    alone = gauge(proc, tmp_path).room(1)
    assert alone.num_bytes == 8000 * MB
    assert alone.source == "memory available here"
    shared = gauge(proc, tmp_path).room(4)
    assert shared.num_bytes == 2000 * MB
    assert "shared by 4 processes" in shared.source


def test_the_limit_of_any_cgroup_above_counts_without_cached_files(proc, tmp_path):
    (proc / "self/cgroup").write_text("0::/job/step\n")
    step = tmp_path / "cgroup/job/step"
    step.mkdir(parents=True)
    (step / "memory.max").write_text("max\n")
    (step / "memory.current").write_text("1\n")
    (step.parent / "memory.max").write_text(f"{3000 * MB}\n")
    (step.parent / "memory.current").write_text(f"{1000 * MB}\n")
    (step.parent / "memory.stat").write_text(f"anon {400 * MB}\nfile {600 * MB}\n")
    room = gauge(proc, tmp_path).room(1)
    assert room.num_bytes == (3000 - 1000 + 600 + 100) * MB
    assert "cgroup" in room.source


def test_older_cgroups_are_read_too_and_their_sign_for_no_limit(proc, tmp_path):
    (proc / "self/cgroup").write_text("4:memory:/job\n0::/\n")
    job = tmp_path / "cgroup/memory/job"
    job.mkdir(parents=True)
    (job / "memory.limit_in_bytes").write_text(f"{2000 * MB}\n")
    (job / "memory.usage_in_bytes").write_text(f"{500 * MB}\n")
    (job.parent / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (job.parent / "memory.usage_in_bytes").write_text("1\n")
    assert gauge(proc, tmp_path).room(1).num_bytes == 1600 * MB


def test_nothing_is_made_up_where_nothing_can_be_read(tmp_path):
    empty = HostMemory(tmp_path / "none", tmp_path / "none")
    assert empty.room(1) is None


def test_a_peak_that_an_earlier_one_hides_is_not_known(proc, tmp_path):
    (proc / "self/clear_refs").mkdir()  # cannot be written to
    memory = gauge(proc, tmp_path)
    assert memory.begin() == 100 * MB
    assert memory.peak() is None
    status = proc / "self/status"
    status.write_text(f"VmHWM: {150 * 1024} kB\nVmRSS: {100 * 1024} kB\n")
    assert memory.peak() == 150 * MB


def test_the_peak_of_this_process_is_measured_and_forgotten():
    memory = memory_gauge(torch.device("cpu"))
    assert isinstance(memory, HostMemory)
    before = memory.begin()
    np.ones(64 * MB, np.uint8)
    peak = memory.peak()
    if peak is None:
        pytest.skip("this system does not let a process forget its highest mark")
    assert 60 * MB < peak - before < 100 * MB
    memory.begin()
    after = memory.peak()
    assert after is not None
    assert after < peak - 30 * MB
