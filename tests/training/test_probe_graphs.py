from small_crystals import datamodule_of, make_frame

from mace_train.training.probe_graphs import choose_probe_graphs


def test_probe_graphs_cover_the_elements(tmp_path):
    frames = [make_frame(i) for i in range(5)] + [make_frame(9, symbols=("Li", "F"))]
    module = datamodule_of(tmp_path, frames, valid_fraction=0.0)
    module.setup()
    graphs = choose_probe_graphs(module.graphs(module.data.sets["train"]), 2)
    numbers = {int(n) for graph in graphs for n in graph.atomic_numbers}
    assert len(graphs) == 2
    assert numbers == {3, 8, 9}


def test_none_are_chosen_where_none_are_asked_for(tmp_path):
    module = datamodule_of(tmp_path, [make_frame(0)], valid_fraction=0.0)
    module.setup()
    assert choose_probe_graphs(module.graphs(module.data.sets["train"]), 0) == []
