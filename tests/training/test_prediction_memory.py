import logging

import numpy as np
import pytest
import torch
from small_crystals import R_MAX, isolated_atom, make_frame, small_model, store_of

from mace_train.data.dataset import GraphDataset
from mace_train.training import prediction_memory as module
from mace_train.training.memory import HostMemory, MemoryRoom
from mace_train.training.prediction_memory import ENOUGH_ON_CPU, choose_max_edges
from mace_train.training.step_costs import Sample

CPU = torch.device("cpu")


def dataset(tmp_path, frames):
    store = store_of(tmp_path, frames)
    model = small_model()
    return GraphDataset(
        store,
        np.tile(np.arange(len(store)), 100),
        elements=model.elements,
        r_max=R_MAX,
        dtype=torch.float64,
    )


@pytest.fixture
def graphs(tmp_path):
    return dataset(tmp_path, [isolated_atom("Li", -1.0), make_frame(0), make_frame(1)])


def chosen(graphs, **options):
    return choose_max_edges([small_model().eval()], graphs, device=CPU, **options)


def test_where_there_is_memory_it_is_what_makes_predictions_fast(graphs, caplog):
    caplog.set_level(logging.INFO, logger="mace_train")
    assert chosen(graphs) == ENOUGH_ON_CPU
    assert "data.max_edges=auto: 50000" in caplog.text
    assert "kB an edge" in caplog.text


def test_little_memory_bounds_it(graphs, monkeypatch):
    held = 10**9

    def sampled(*arguments, **options):
        return [
            Sample(edges, 0.1, 0.0, 0.1, 0.0, held, held + 10_000 * edges)
            for edges in (1000, 2000)
        ]

    room = MemoryRoom(int((held + 200e6) / module.SAFETY), "a test")
    monkeypatch.setattr(HostMemory, "room", lambda self, num: room)
    monkeypatch.setattr(module, "grow_samples", sampled)
    assert chosen(graphs) == pytest.approx(20_000, abs=2)


def test_no_memory_is_said_so(graphs, monkeypatch):
    monkeypatch.setattr(HostMemory, "room", lambda self, num: MemoryRoom(1000, "a test"))
    with pytest.raises(ValueError, match=r"no memory to predict a frame.*workers=1"):
        chosen(graphs)


def test_processes_share_the_memory(graphs, monkeypatch):
    asked = []
    room = HostMemory.room
    monkeypatch.setattr(
        HostMemory, "room", lambda self, num: asked.append(num) or room(self, num)
    )
    chosen(graphs, num_processes=3)
    assert asked == [3]


def test_a_handful_of_frames_is_not_measured(tmp_path, monkeypatch):
    graphs = dataset(tmp_path, [make_frame(0)])
    graphs.indices = graphs.indices[:3]
    monkeypatch.setattr(module, "memory_gauge", None)
    assert chosen(graphs) == ENOUGH_ON_CPU
