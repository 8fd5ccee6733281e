"""Number formats are set while a command runs, and set back."""

import pytest
import torch

from mace_train.cli.arithmetic import default_dtype, denormals_flushed, threads_for


def test_denormal_numbers_are_zero_while_a_run_lasts_and_come_back_after_it():
    tiny = torch.full((4,), 1e-39)
    with denormals_flushed():
        assert (tiny * 0.5 == 0).all()
    assert (tiny * 0.5 > 0).all()


def _fail_in_float64():
    with default_dtype(torch.float64):
        assert torch.zeros(1).dtype == torch.float64
        raise RuntimeError("in between")


def test_the_default_dtype_comes_back_after_an_error_too():
    before = torch.get_default_dtype()
    with pytest.raises(RuntimeError, match="in between"):
        _fail_in_float64()
    assert torch.get_default_dtype() == before


@pytest.mark.parametrize(
    ("backend", "environment", "expected"),
    [("chunked", None, 1), ("chunked", "2", 2), ("plain", None, 2)],
)
def test_the_chunked_backend_runs_on_one_thread_unless_told_otherwise(
    backend, environment, expected, monkeypatch
):
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if environment:
        monkeypatch.setenv("OMP_NUM_THREADS", environment)
    torch.set_num_threads(2)
    try:
        with threads_for(backend):
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
