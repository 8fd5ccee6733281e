"""A changed model keeps what is no part of a model."""

import pytest
import torch

from mace_train.transfer.changed import changed_model


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_backend_are_kept_and_nothing_is_shared(small_model, dtype):
    model = small_model(backend="plain").to(dtype).requires_grad_(False)
    changed = changed_model(model, model.hyperparameters, model.state_dict())
    assert {parameter.dtype for parameter in changed.parameters()} == {dtype}
    assert changed.backend == "plain"
    assert not changed.training
    assert all(parameter.requires_grad for parameter in changed.parameters())
    before = model.node_embedding.linear.weight.clone()
    with torch.no_grad():
        changed.node_embedding.linear.weight.zero_()
    assert torch.equal(model.node_embedding.linear.weight, before)


def test_tensors_that_do_not_fit_are_named(small_model):
    model = small_model()
    state = model.state_dict()
    del state["interactions.0.linear.weight"]
    with pytest.raises(ValueError, match=r"missing: interactions\.0\.linear\.weight"):
        changed_model(model, model.hyperparameters, state)
