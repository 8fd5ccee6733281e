import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_crystals import R_MAX, datamodule_of, isolated_atom, make_frame, without

from mace_train.elements import ElementTable
from mace_train.training.datamodule import MACEDataModule
from mace_train.training.parent_model import Parent


def ready(tmp_path, frames, **options):
    datamodule = datamodule_of(tmp_path, frames, **options)
    datamodule.setup()
    return datamodule


def as_rank(datamodule, rank, world_size):
    """The data module as one process of several sees it."""
    datamodule.trainer = SimpleNamespace(
        world_size=world_size,
        global_rank=rank,
        num_devices=world_size,
        current_epoch=0,
        lightning_module=None,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )
    return datamodule


def places(loader):
    """Frames of each share."""
    return [
        [place for graph in share for place in graph.labels.frame_index.tolist()]
        for share in loader
    ]


def whole(share):
    """The only micro-batch of a share."""
    (graph,) = share
    return graph


def flat(batches):
    return [place for batch in batches for place in batch]


def test_every_training_frame_comes_once_an_epoch_in_an_order_of_its_own(tmp_path):
    datamodule = ready(tmp_path, [make_frame(i) for i in range(12)], batch_size=5)
    loader = datamodule.train_dataloader()
    loader.batch_sampler.sampler.set_epoch(0)
    first = places(loader)
    loader.batch_sampler.sampler.set_epoch(1)
    second = places(loader)
    assert [len(batch) for batch in first] == [5, 5, 1]
    assert (
        sorted(flat(first)) == sorted(flat(second)) == datamodule.data.split.train.tolist()
    )
    assert flat(first) != flat(second)


def test_the_order_of_frames_depends_on_the_seed_alone(tmp_path):
    frames = [make_frame(i) for i in range(12)]
    one, same, other = (
        places(ready(tmp_path, frames, split="random", valid_fraction=0.0, seed=seed)
        .train_dataloader())
        for seed in (1, 1, 2)
    )  # fmt: skip
    assert one == same != other


def test_ranks_share_each_global_batch(tmp_path):
    frames = [make_frame(i) for i in range(12)]
    alone = ready(tmp_path, frames, batch_size=4, valid_fraction=0.0)
    batches = places(alone.train_dataloader())
    of_ranks = [places(as_rank(alone, rank, 2).train_dataloader()) for rank in (0, 1)]
    assert [len(rank) for rank in of_ranks] == [len(batches)] * 2
    for batch, mine, theirs in zip(batches, *of_ranks):
        assert sorted(batch) == sorted(mine + theirs)


def test_ranks_validate_each_frame_exactly_once(tmp_path):
    frames = [make_frame(i) for i in range(14)]
    datamodule = ready(tmp_path, frames, valid_fraction=0.5, valid_batch_size=2)
    shares = [places(as_rank(datamodule, rank, 3).val_dataloader()) for rank in range(3)]
    seen = sorted(flat(flat(shares)))
    assert seen == datamodule.data.split.valid.tolist()
    assert len(seen) == 7
    assert len({len(share) for share in shares}) == 1


def test_a_rank_without_frames_gets_an_empty_share(tmp_path):
    datamodule = ready(tmp_path, [make_frame(i) for i in range(3)], valid_fraction=0.4)
    batches = [list(as_rank(datamodule, rank, 2).val_dataloader()) for rank in (0, 1)]
    sizes = sorted(batch.num_graphs for rank in batches for batch in rank)
    assert sizes == [0, 1]


def test_max_edges_bounds_micro_batches_in_training_and_validation(tmp_path):
    frames = [make_frame(i) for i in range(12)]
    options = {"batch_size": 8, "valid_fraction": 0.5, "valid_batch_size": 6}
    free = ready(tmp_path, frames, **options)
    bound = max(graph.num_edges for graph in free.dataset("train"))
    bounded = ready(tmp_path, frames, max_edges=2 * bound, **options)
    for loader in ("train_dataloader", "val_dataloader"):
        shares = list(getattr(bounded, loader)())
        assert max(map(len, shares)) > 1
        assert all(share.most_edges <= 2 * bound for share in shares)
        assert places(shares) == places(getattr(free, loader)())


def test_the_batch_of_a_rank_times_the_ranks_is_the_global_batch(tmp_path):
    frames = [make_frame(i) for i in range(12)]
    datamodule = ready(tmp_path, frames, batch_size=None, batch_size_per_rank=3)
    assert datamodule.batch_size_of(1) == 3
    assert datamodule.batch_size_of(2) == 6
    with pytest.raises(ValueError, match=r"data.batch_size or data.batch_size_per_rank"):
        MACEDataModule(train="x.xyz", r_max=5.0, batch_size=None)


def test_a_batch_larger_than_the_training_set_is_cut_and_said(tmp_path, caplog):
    package = logging.getLogger("mace_train")
    package.addHandler(caplog.handler)
    datamodule = ready(tmp_path, [make_frame(i) for i in range(5)], batch_size=64)
    batches = places(datamodule.train_dataloader())
    package.removeHandler(caplog.handler)
    assert [len(batch) for batch in batches] == [len(datamodule.data.split.train)]
    assert "the global batch is cut from 64 to all 4 frames" in caplog.text


def test_graphs_carry_the_asked_dtype_and_the_labels_of_their_frame(tmp_path):
    frames = [make_frame(i) for i in range(4)]
    datamodule = ready(tmp_path, frames, dtype="float32", valid_fraction=0.0)
    batch = whole(next(iter(datamodule.train_dataloader())))
    assert batch.positions.dtype == torch.float32
    energies = [frames[i].info["energy"] for i in batch.labels.frame_index]
    assert np.allclose(batch.labels.energy, energies, rtol=1e-6)
    assert (batch.labels.stress_weight == 1).all()


def test_worker_processes_change_nothing(tmp_path):
    frames = [make_frame(i) for i in range(6)]
    alone = ready(tmp_path, frames, batch_size=2)
    helped = ready(tmp_path, frames, batch_size=2, num_workers=1)
    for mine, theirs in zip(alone.train_dataloader(), helped.train_dataloader()):
        assert torch.equal(whole(mine).positions, whole(theirs).positions)
        assert torch.equal(whole(mine).edge_index, whole(theirs).edge_index)
    assert helped.train_dataloader().persistent_workers


def test_loading_leaves_the_global_random_state_alone(tmp_path):
    datamodule = ready(tmp_path, [make_frame(i) for i in range(6)])
    before = torch.get_rng_state()
    list(datamodule.train_dataloader())
    assert torch.equal(before, torch.get_rng_state())


def test_a_run_that_goes_on_begins_with_the_epoch_of_its_checkpoint(tmp_path):
    frames = [make_frame(i) for i in range(9)]
    datamodule = as_rank(ready(tmp_path, frames, valid_fraction=0.0), 0, 1)
    fresh = datamodule.train_dataloader()
    fresh.batch_sampler.sampler.set_epoch(4)
    datamodule.trainer.current_epoch = 4
    assert places(datamodule.train_dataloader()) == places(fresh)


def test_labels_of_the_loss_must_occur(tmp_path):
    frames = [without(make_frame(i), "stress") for i in range(4)]
    datamodule = ready(tmp_path, frames)
    datamodule.check_labels({"energy": 1.0, "forces": 10.0, "stress": 0.0})
    with pytest.raises(ValueError, match=r"loss.stress_weight=0"):
        datamodule.check_labels({"energy": 1.0, "forces": 10.0, "stress": 100.0})


def test_a_written_split_is_read_back(tmp_path):
    frames = [make_frame(i) for i in range(10)]
    first = ready(tmp_path, frames, seed=3, test_fraction=0.2)
    first.write_split(tmp_path)
    assert len(json.loads((tmp_path / "split.json").read_text())["test"]) == 2
    again = ready(tmp_path, frames, seed=8, split_file=str(tmp_path / "split.json"))
    for name in ("train", "valid", "test"):
        assert np.array_equal(
            getattr(first.data.split, name), getattr(again.data.split, name)
        )


def test_splits_are_data_sets_and_an_absent_one_is_none(tmp_path):
    datamodule = ready(tmp_path, [make_frame(i) for i in range(10)], valid_fraction=0.3)
    assert len(datamodule.dataset("valid")) == 3
    assert datamodule.dataset("test") is None
    assert len(datamodule.train_sample(4)) == 4
    assert set(datamodule.train_sample(4).indices) <= set(datamodule.data.split.train)


def test_no_validation_frames_make_no_loader(tmp_path):
    datamodule = ready(tmp_path, [make_frame(i) for i in range(3)], valid_fraction=0.0)
    assert datamodule.val_dataloader() == []


def test_probe_graphs_cover_the_elements(tmp_path):
    frames = [make_frame(i) for i in range(6)] + [make_frame(9, symbols=("Li", "F"))]
    graphs = ready(tmp_path, frames, valid_fraction=0.0).probe_graphs(2)
    assert len(graphs) == 2
    assert {3, 8, 9} == {int(z) for graph in graphs for z in graph.atomic_numbers}


def test_a_parent_decides_on_elements_and_cutoff(tmp_path):
    datamodule = datamodule_of(tmp_path, [make_frame(i) for i in range(4)])
    datamodule.use_parent(Parent(ElementTable((1, 3, 8))), r_max=3.0)
    datamodule.setup()
    assert datamodule.data.elements.symbols == ("H", "Li", "O")
    batch = whole(next(iter(datamodule.train_dataloader())))
    vectors = batch.positions[batch.edge_index[1]] - batch.positions[batch.edge_index[0]]
    of_edge = batch.graph_index[batch.edge_index[0]]
    vectors = vectors + torch.einsum("ei,eij->ej", batch.unit_shifts, batch.cell[of_edge])
    assert vectors.norm(dim=1).max() < 3.0 < R_MAX


def test_isolated_atoms_are_in_no_batch(tmp_path):
    frames = [isolated_atom("Li", -1.0), *(make_frame(i) for i in range(5))]
    datamodule = ready(tmp_path, frames, valid_fraction=0.2)
    seen = flat(places(datamodule.train_dataloader()) + places(datamodule.val_dataloader()))
    assert sorted(seen) == [1, 2, 3, 4, 5]


def test_preparing_tells_of_the_frames_done(tmp_path):
    told = []
    datamodule = datamodule_of(tmp_path, [make_frame(i) for i in range(3)])
    datamodule.prepare_data(lambda done, total: told.append((done, total)))
    assert told[-1] == (3, 3)
