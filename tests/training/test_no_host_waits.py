"""In a training step the host never waits for a GPU, as far as a CPU can show that.

Every operator that runs between the start and the end of a step is looked at; those that
would bring a number to the host, or need one to know the shape of their result, and those
that copy from memory of the host that is not page-locked, are not allowed.
"""

import lightning
import pytest
import torch
from pair_potential import (
    ELEMENTS,
    R_MAX,
    Frames,
    make_frame,
    make_module,
    train,
    with_energy,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from mace_train.model.mace import MACE
from mace_train.training.loss import SquaredLoss, UniversalLoss

WAITING = {
    *("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "bincount"),
    *("unique_dim", "_unique2", "unique_consecutive", "_unique", "histc", "nonzero_numpy"),
    "lift_fresh",  # torch.tensor([...]): made on the host
}
WITH_MASKS = {"index", "index_put", "index_put_", "_index_put_impl_"}
FRAMES = [make_frame(index) for index in range(12)]
LOSSES = (UniversalLoss(1.0, 10.0, 100.0), SquaredLoss(1.0, 10.0, 100.0))


READING = {torch.Tensor.tolist, torch.Tensor.cpu}
"""No operators on a CPU; `HostCopy` reads through `torch.Tensor.numpy`."""


class _Reads(TorchFunctionMode):
    def __init__(self, found) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in READING:
            self.found.append(function.__name__)
        return function(*args, **(kwargs or {}))


class HostWaits(TorchDispatchMode):
    """Records what would make the host wait."""

    def __init__(self) -> None:
        super().__init__()
        self.found = []
        self.num_operators = 0
        self._reads = _Reads(self.found)

    def __enter__(self):
        self._reads.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._reads.__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.num_operators += 1
        name = function.overloadpacket.__name__
        if name in WAITING:
            self.found.append(name)
        if name in WITH_MASKS and any(
            index is not None and index.dtype in (torch.bool, torch.uint8)
            for index in args[1]
        ):
            self.found.append(f"{name} with a mask")
        if name == "repeat_interleave" and (kwargs or {}).get("output_size") is None:
            self.found.append("repeat_interleave without output_size")
        return function(*args, **(kwargs or {}))


class AroundSteps(lightning.Callback):
    """Calls `before` and `after` at the very ends of every training step.

    Args:
        is_late: Whether the guard is that of a GPU.
    """

    def __init__(self, *, is_late=True) -> None:
        self.is_late = is_late

    def before(self, trainer, module):
        pass

    def after(self, trainer, module):
        pass

    def on_train_start(self, trainer, pl_module):
        pl_module._guard.is_late = pl_module.wishes.is_late = self.is_late
        last_hook = pl_module.on_train_batch_end  # comes after those of callbacks

        def on_train_batch_end(*args):
            last_hook(*args)
            self.after(trainer, pl_module)

        pl_module.on_train_batch_end = on_train_batch_end

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.before(trainer, pl_module)


class Watch(AroundSteps):
    """Looks for what waits."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.waits = HostWaits()

    def before(self, trainer, module):
        self.waits.__enter__()

    def after(self, trainer, module):
        self.waits.__exit__(None, None, None)


def _watched(tmp_path, module, frames, **options):
    watch = Watch(**options)
    train(module, frames, tmp_path, max_epochs=2, extra_callbacks=[watch])
    assert watch.waits.num_operators > 1000
    return watch.waits.found


@pytest.mark.parametrize("loss", LOSSES)
def test_no_operator_of_a_training_step_waits_for_a_gpu(tmp_path, loss):
    frames = Frames(FRAMES[:8], FRAMES[8:], batch_size=3)
    assert _watched(tmp_path, make_module(loss=loss), frames) == []


@pytest.mark.parametrize("backend", ["plain", "chunked"])
@pytest.mark.parametrize(
    "architecture",
    [
        {"interaction": "residual", "distance_transform": "none", "pair_repulsion": False},
        {
            "interaction": "density_residual",
            "distance_transform": "agnesi",
            "pair_repulsion": True,
        },
    ],
    ids=["mace_mp", "mace_mp_0b3"],
)
def test_no_operator_of_mace_waits_either(tmp_path, architecture, backend):
    model = MACE(
        atomic_numbers=ELEMENTS.atomic_numbers,
        atomic_energies=[-1.0, -2.0],
        hidden_irreps="4x0e + 4x1o",
        max_ell=2,
        correlation=3,
        num_interactions=2,
        r_max=R_MAX,
        num_radial_basis=4,
        cutoff_p=5,
        radial_mlp=[8, 8],
        readout_hidden_irreps="4x0e",
        first_interaction="residual",
        avg_num_neighbors=10.0,
        scale=1.0,
        shift=0.0,
        backend=backend,
        **architecture,
    )
    frames = Frames(FRAMES[:8], FRAMES[8:], batch_size=3)
    assert _watched(tmp_path, make_module(model.double()), frames) == []


def test_on_a_cpu_every_step_is_looked_at_at_once(tmp_path):
    found = _watched(tmp_path, make_module(), Frames(FRAMES[:8]), is_late=False)
    assert found == ["tolist", "_local_scalar_dense"] * 4  # the wishes, then the guard


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x[x > 0],
        lambda x: torch.nonzero(x),
        lambda x: torch.unique(x),
        lambda x: torch.bincount(x.long().abs()),
        lambda x: torch.equal(x, x),
        lambda x: x.masked_select(x > 0),
        lambda x: torch.repeat_interleave(x, torch.ones_like(x, dtype=torch.int64)),
        lambda x: x * torch.tensor([1.0, 2.0, 3.0]),
    ],
)
def test_what_waits_is_found(wait):
    x = torch.tensor([1.0, -1.0, 2.0])
    with HostWaits() as waits:
        wait(x)
    assert waits.found


class SpoiledStep(Frames):
    """One batch of the second epoch has a NaN among its labels."""

    def on_before_batch_transfer(self, batch, dataloader_idx):
        is_late = self.trainer.current_epoch >= 1
        return with_energy(batch, 5, torch.nan) if is_late else batch


class Snapshots(AroundSteps):
    """Weights, moments and averages after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.states = []

    def after(self, trainer, module):
        optimizer = trainer.optimizers[0].state_dict()["state"]
        moments = [v for state in optimizer.values() for v in state.values()]
        average = module.averaged.state_dict()["averages"].values()
        tensors = [*module.model.parameters(), *moments, *average]
        self.states.append([tensor.detach().clone() for tensor in tensors])


def test_a_late_guard_keeps_a_nan_from_weights_moments_and_average(tmp_path):
    module = make_module(frame_name=lambda index: f"si.xyz:{index}")
    snapshots = Snapshots()
    frames = SpoiledStep(FRAMES[:10], batch_size=1)  # ten steps an epoch
    with pytest.raises(ValueError, match=r"epoch 1, step 1\d; .*si\.xyz:5\.") as caught:
        train(module, frames, tmp_path, max_epochs=3, extra_callbacks=[snapshots])
    bad = int(str(caught.value).split("step ")[1].split(";")[0])
    for before, after in zip(snapshots.states[bad - 1], snapshots.states[bad]):
        assert torch.equal(before, after)
    changed = zip(snapshots.states[bad - 2], snapshots.states[bad - 1])
    assert sum(not torch.equal(before, after) for before, after in changed) > 15
    assert len(snapshots.states) == bad + 1  # the next step was not finished


def test_a_late_guard_looks_at_the_last_step_of_an_epoch_before_it_is_kept(tmp_path):
    module = make_module()
    frames = SpoiledStep(FRAMES[:8], batch_size=8)  # one step an epoch
    with pytest.raises(ValueError, match="epoch 1, step 1;"):
        train(module, frames, tmp_path, max_epochs=3, extra_callbacks=[Snapshots()])
    last = torch.load(tmp_path / "checkpoints/last.ckpt", weights_only=True)
    assert last["mace_train"]["num_epochs"] == 1


def test_late_and_immediate_guards_train_alike(tmp_path):
    weights = []
    for is_late in (False, True):
        module = make_module()
        train(
            module,
            Frames(FRAMES[:8], FRAMES[8:]),
            tmp_path / str(is_late),
            max_epochs=3,
            extra_callbacks=[Watch(is_late=is_late)],
        )
        weights.append([p.detach() for p in module.model.parameters()])
    for one, other in zip(*weights):
        assert torch.equal(one, other)
