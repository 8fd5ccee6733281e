"""Values that the host reads later."""

import pytest
import torch

from mace_train.training.host_copy import HostCopy


@pytest.mark.parametrize("dtype", [torch.bool, torch.float64])
def test_what_was_sent_last_is_read(dtype):
    copy = HostCopy()
    for number in (1, 0, 1):
        copy.send(torch.tensor([number, 1], dtype=dtype))
        assert copy.read().tolist() == [number, 1]


def test_what_was_sent_or_read_does_not_change_with_its_source():
    copy, values = HostCopy(), torch.zeros(2)
    copy.send(values)
    read = copy.read()
    values += 1
    copy.send(values)
    assert read.tolist() == [0.0, 0.0]
    assert copy.read().tolist() == [1.0, 1.0]


def test_a_single_verdict_is_true_or_false():
    copy = HostCopy()
    copy.send(torch.tensor(float("nan")).isnan())
    assert copy.read()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_values_of_a_gpu_arrive():
    copy = HostCopy()
    copy.send(torch.arange(3, device="cuda"))
    assert copy.read().tolist() == [0, 1, 2]
