"""`MACEModule` in whole runs: exact resume, averaged validation, stages, and ends."""

import csv
import math
import shutil
from dataclasses import replace
from itertools import chain

import pytest
import torch
from pair_potential import (
    Frames,
    PairPotential,
    make_frame,
    make_module,
    partly_labelled,
    train,
    with_energy,
)

from mace_train.graph import AtomicGraph
from mace_train.training.ema import WeightAverage
from mace_train.training.guard import NonFiniteError
from mace_train.training.loss import SquaredLoss, UniversalLoss
from mace_train.training.metrics import ErrorSums
from mace_train.training.optim import ConstantSchedule, Optimizer
from mace_train.training.stages import EarlyStopping, StageTwo

FRAMES = partly_labelled(19)


def _frames(**options):
    return Frames(FRAMES[:14], FRAMES[14:], **options)


def _rows(run_dir):
    with (run_dir / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _load(path):
    return torch.load(path, weights_only=True)


def _assert_equal(one, other, path=""):
    """Bit for bit, whatever is nested."""
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            _assert_equal(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), path
        for place, (a, b) in enumerate(zip(one, other)):
            _assert_equal(a, b, f"{path}/{place}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    else:
        assert one == other or (one != one and other != other), path


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Recorded(Frames):
    """Keeps the order in which training frames came."""

    def on_before_batch_transfer(self, batch, dataloader_idx):
        if self.trainer.training:
            self.order.append([i for g in batch for i in g.labels.frame_index.tolist()])
        return batch


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(tmp_path, num_workers):
    def run(folder, max_epochs, checkpoint=None):
        frames = Recorded(FRAMES[:14], FRAMES[14:], num_workers=num_workers)
        module = make_module(
            stage_two=StageTwo(start_epoch=4, lr=0.005), early_stopping=EarlyStopping(50)
        )
        path = tmp_path / folder
        train(module, frames, path, max_epochs=max_epochs, checkpoint=checkpoint)
        return frames.order, torch.get_rng_state()

    whole_order, whole_random = run("whole", 6)
    first_order, _ = run("parts", 3)
    torch.manual_seed(99)  # a new process has another random state
    last = tmp_path / "parts/checkpoints/last.ckpt"
    second_order, random = run("parts", 6, last)
    assert first_order + second_order == whole_order
    assert sorted(chain(*whole_order[:4])) == sorted(chain(*whole_order[4:8]))
    assert whole_order[:4] != whole_order[4:8]
    if not num_workers:
        assert torch.equal(random, whole_random)
    for name in ("last", "best", "best_stage_one"):
        one, other = (
            _load(tmp_path / f"{run}/checkpoints/{name}.ckpt") for run in ("whole", "parts")
        )
        for key in ("mace_train", "state_dict", "optimizer_states", "epoch", "global_step"):
            _assert_equal(one[key], other[key], f"{name}/{key}")
    timing = ("seconds", "frames_per_second")
    timing += ("timing/data", "timing/compute", "timing/communication")
    rows = [
        [{k: v for k, v in row.items() if k not in timing} for row in _rows(tmp_path / run)]
        for run in ("whole", "parts")
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 6


@pytest.mark.usefixtures("one_thread")
def test_a_run_goes_on_from_an_older_checkpoint_and_cuts_the_rows_beyond(tmp_path):
    train(make_module(), _frames(), tmp_path, max_epochs=2)
    older = tmp_path / "older.ckpt"
    shutil.copy(tmp_path / "checkpoints/last.ckpt", older)
    train(
        make_module(),
        _frames(),
        tmp_path,
        max_epochs=4,
        checkpoint=tmp_path / "checkpoints/last.ckpt",
    )
    before = _rows(tmp_path)
    train(make_module(), _frames(), tmp_path, max_epochs=3, checkpoint=older)
    after = _rows(tmp_path)
    assert [row["epoch"] for row in after] == ["0", "1", "2"]
    assert [row["valid/loss"] for row in after] == [row["valid/loss"] for row in before[:3]]


def _by_hand(module, frames):
    """Validation loss and errors of the averaged weights, all frames in one batch."""
    module.model.eval()
    batch = AtomicGraph.batch(frames)
    errors = ErrorSums()
    with module.averaged.swapped_in():
        prediction = module.model(batch, compute_stress=True)
        errors.add(prediction, batch)
        return module.loss(prediction, batch).item(), errors.results()


@pytest.mark.parametrize("valid_batch_size", [1, 2, 5])
def test_validation_uses_averaged_weights_and_no_batch_size_changes_it(
    tmp_path, valid_batch_size
):
    module = make_module()
    train(module, _frames(valid_batch_size=valid_batch_size), tmp_path, max_epochs=2)
    loss, errors = _by_hand(module, FRAMES[14:])
    row = _rows(tmp_path)[-1]
    assert float(row["valid/loss"]) == pytest.approx(loss, rel=1e-12)
    for name in ("energy_per_atom_mae", "forces_rmse", "stress_mae"):
        assert float(row[f"valid/{name}"]) == pytest.approx(errors[name], rel=1e-12)
    raw = PairPotential().double()
    raw.load_state_dict(module.model.state_dict())
    batch = AtomicGraph.batch(FRAMES[14:])
    assert module.loss(raw(batch, compute_stress=True), batch).item() != pytest.approx(loss)


def test_one_step_is_that_of_plain_torch(tmp_path):
    loss = SquaredLoss(energy_weight=1.0, forces_weight=10.0, stress_weight=100.0)
    module = make_module(
        loss=loss,
        optimizer=Optimizer(lr=0.02, clip_norm=0.5, amsgrad=True),
        schedule=ConstantSchedule(),
    )
    frames = FRAMES[:4]
    train(module, Frames(frames, frames), tmp_path, max_epochs=1)
    model = PairPotential().double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02, amsgrad=True)
    batch = AtomicGraph.batch(frames)
    loss(model(batch, compute_stress=True), batch).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
    for ours, plain in zip(module.model.parameters(), model.parameters()):
        assert torch.allclose(ours, plain, rtol=1e-9, atol=1e-12)


def test_the_train_loss_is_that_of_the_weights_before_each_step(tmp_path):
    module = make_module(loss=UniversalLoss(1.0, 10.0, 100.0))
    train(module, Frames(FRAMES[:6], batch_size=6), tmp_path, max_epochs=1)
    batch = AtomicGraph.batch(FRAMES[:6])
    expected = module.loss(
        PairPotential().double()(batch, compute_stress=True), batch
    ).item()
    row = _rows(tmp_path)[0]
    assert float(row["train/loss"]) == pytest.approx(expected, rel=1e-12)
    assert row["valid/loss"] == row["valid/forces_mae"] == ""


def test_warm_up_and_plateau_set_the_learning_rate(tmp_path):
    module = make_module(optimizer=Optimizer(lr=1e-12, warmup_steps=6))
    train(module, _frames(), tmp_path, max_epochs=4)
    rates = [float(row["lr"]) for row in _rows(tmp_path)]
    # 4 steps an epoch; nothing is learned, so the loss stalls from the second epoch on
    assert rates == pytest.approx([4e-12 / 6, 1e-12, 0.5e-12, 0.25e-12])


def test_stage_two_has_its_own_loss_and_learning_rate_and_best_epoch(tmp_path):
    two = StageTwo(
        start_epoch=2, lr=1e-9, energy_weight=1000.0, forces_weight=2.0, stress_weight=3.0
    )
    module = make_module(stage_two=two)
    train(module, _frames(), tmp_path, max_epochs=4)
    assert [row["stage"] for row in _rows(tmp_path)] == ["1", "1", "2", "2"]
    assert [float(row["lr"]) for row in _rows(tmp_path)][2:] == [1e-9, 1e-9]
    assert module.loss == UniversalLoss(1000.0, 2.0, 3.0)
    assert module.stages.best.epoch >= 2
    first = _load(tmp_path / "checkpoints/best_stage_one.ckpt")
    assert first["mace_train"]["stages"]["current"] == 1
    best = _load(tmp_path / "checkpoints/best.ckpt")["mace_train"]
    assert best["num_epochs"] == module.stages.best.epoch + 1


def test_stage_two_may_be_switched_on_when_a_run_goes_on(tmp_path):
    train(make_module(), _frames(), tmp_path, max_epochs=2)
    module = make_module(stage_two=StageTwo(start_epoch=1, lr=1e-3))
    checkpoint = tmp_path / "checkpoints/last.ckpt"
    train(module, _frames(), tmp_path, max_epochs=3, checkpoint=checkpoint)
    assert [row["stage"] for row in _rows(tmp_path)] == ["1", "1", "2"]


def _stalled(**options):
    """A module that learns nothing: every epoch after the first is a stalled one."""
    return make_module(
        optimizer=Optimizer(lr=1e-30),
        schedule=ConstantSchedule(),
        ema=WeightAverage(None),
        **options,
    )


def test_early_stopping_stops_and_stays_stopped_after_a_resume(tmp_path):
    train(_stalled(early_stopping=EarlyStopping(2)), _frames(), tmp_path, max_epochs=20)
    assert [row["epoch"] for row in _rows(tmp_path)] == ["0", "1", "2"]
    last = tmp_path / "checkpoints/last.ckpt"
    assert _load(last)["mace_train"]["num_epochs"] == 3
    again = _stalled(early_stopping=EarlyStopping(2))
    train(again, _frames(), tmp_path, max_epochs=20, checkpoint=last)
    assert len(_rows(tmp_path)) == 3
    longer = _stalled(early_stopping=EarlyStopping(4))
    train(longer, _frames(), tmp_path, max_epochs=20, checkpoint=last)
    assert len(_rows(tmp_path)) == 5


def test_early_stopping_begins_stage_two_before_it_ends_the_run(tmp_path):
    module = _stalled(
        early_stopping=EarlyStopping(1), stage_two=StageTwo(start_epoch=10, lr=1e-30)
    )
    train(module, _frames(), tmp_path, max_epochs=20)
    assert [row["stage"] for row in _rows(tmp_path)] == ["1", "1", "2", "2"]


def test_a_finished_run_is_left_as_it_is(tmp_path):
    train(make_module(), _frames(), tmp_path, max_epochs=2)
    last = tmp_path / "checkpoints/last.ckpt"
    before = last.read_bytes()
    train(make_module(), _frames(), tmp_path, max_epochs=2, checkpoint=last)
    assert last.read_bytes() == before
    assert len(_rows(tmp_path)) == 2


def _with_energy(frame, value):
    energy = torch.full_like(frame.labels.energy, value)
    return replace(frame, labels=replace(frame.labels, energy=energy))


class SpoiledFromEpoch(Frames):
    """A data set of which one frame has a wrong label from some epoch on."""

    first_epoch = 2

    def on_before_batch_transfer(self, batch, dataloader_idx):
        is_late = self.trainer.current_epoch >= self.first_epoch
        return with_energy(batch, 8, math.nan) if is_late else batch


def test_a_nan_stops_the_run_with_the_frames_and_keeps_the_last_good_checkpoint(tmp_path):
    module = make_module(frame_name=lambda index: f"si.xyz:{index}")
    frames = SpoiledFromEpoch(FRAMES[:14], FRAMES[14:])
    with pytest.raises(NonFiniteError, match=r"epoch 2, step \d+; .*si\.xyz:8\b"):
        train(module, frames, tmp_path, max_epochs=5)
    last = _load(tmp_path / "checkpoints/last.ckpt")
    assert last["mace_train"]["num_epochs"] == 2
    assert all(torch.isfinite(value).all() for value in last["state_dict"].values())
    assert all(torch.isfinite(p).all() for p in module.model.parameters())


def test_a_nan_validation_loss_is_never_the_best(tmp_path):
    module = make_module()
    spoiled = Frames(FRAMES[:14], [*FRAMES[14:-1], _with_energy(make_frame(0), math.nan)])
    with pytest.raises(ValueError, match="NaN or infinite in every epoch"):
        train(module, spoiled, tmp_path, max_epochs=2)
    assert not (tmp_path / "checkpoints/best.ckpt").exists()
    assert (tmp_path / "checkpoints/last.ckpt").exists()
    assert module.stages.best.num_since == 2


def test_a_run_without_validation_frames_keeps_the_lowest_training_loss(tmp_path):
    module = make_module()
    train(module, Frames(FRAMES[:8]), tmp_path, max_epochs=3)
    losses = [float(row["train/loss"]) for row in _rows(tmp_path)]
    assert module.stages.best.loss == min(losses)


def test_without_averaging_the_checkpoint_has_raw_weights_only(tmp_path):
    module = make_module(ema=WeightAverage(decay=None))
    train(module, _frames(), tmp_path, max_epochs=1)
    saved = _load(tmp_path / "checkpoints/last.ckpt")
    assert saved["mace_train"]["ema_model_state"] is None
    for name, value in module.model.state_dict().items():
        assert torch.equal(saved["state_dict"][f"model.{name}"], value)


def test_the_checkpoint_keeps_raw_and_averaged_weights_and_the_metadata(tmp_path):
    module = make_module(metadata={"units": {"energy": "eV"}})
    train(module, _frames(), tmp_path, max_epochs=2)
    saved = _load(tmp_path / "checkpoints/last.ckpt")
    entry = saved["mace_train"]
    assert entry["metadata"] == {"units": {"energy": "eV"}}
    assert entry["hyperparameters"] == module.model.hyperparameters
    assert entry["ema_model_state"].keys() == module.model.state_dict().keys()
    name = "readouts.0.weight"
    assert torch.equal(
        saved["state_dict"][f"model.{name}"], module.model.state_dict()[name]
    )
    assert not torch.equal(
        entry["ema_model_state"][name], saved["state_dict"][f"model.{name}"]
    )


def test_a_checkpoint_of_another_architecture_is_refused_with_the_difference(tmp_path):
    train(make_module(), _frames(), tmp_path, max_epochs=1)
    last = tmp_path / "checkpoints/last.ckpt"
    before = last.read_bytes()
    other = make_module(PairPotential(num_hidden=7).double())
    with pytest.raises(ValueError, match="num_hidden is 6 in the checkpoint and 7 now"):
        train(other, _frames(), tmp_path, max_epochs=3, checkpoint=last)
    assert last.read_bytes() == before


def test_a_checkpoint_of_another_dtype_is_refused(tmp_path):
    train(make_module(), _frames(), tmp_path, max_epochs=1)
    frames = Frames(partly_labelled(6, dtype=torch.float32))
    last = tmp_path / "checkpoints/last.ckpt"
    with pytest.raises(
        ValueError, match=r"float64 in the checkpoint and torch\.float32 now"
    ):
        train(make_module(PairPotential()), frames, tmp_path, max_epochs=3, checkpoint=last)


def test_training_learns_a_potential_it_can_represent(tmp_path):
    teacher = PairPotential(seed=5).double().eval()

    def labelled(index):
        frame = make_frame(index, weights=(1.0, 1.0, 0.0))
        prediction = teacher(frame)
        labels = replace(
            frame.labels,
            energy=prediction.energy.detach(),
            forces=prediction.forces.detach(),
        )
        return replace(frame, labels=labels)

    frames = [labelled(index) for index in range(24)]
    module = make_module(loss=SquaredLoss(1.0, 10.0, 0.0), ema=WeightAverage(0.9))
    train(module, Frames(frames[:20], frames[20:]), tmp_path, max_epochs=25)
    losses = [float(row["valid/loss"]) for row in _rows(tmp_path)]
    assert losses[-1] < 0.1 * losses[0]
