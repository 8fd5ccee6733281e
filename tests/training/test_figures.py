import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread
from small_crystals import make_frame, store_of
from test_predictions import predict

from mace_train.training.figures import draw_learning_curves, draw_parity

HEADER = "epoch,train/loss,valid/loss,valid/energy_per_atom_mae,valid/forces_mae\n"


def is_drawn(path):
    """A picture of reasonable size that is not blank."""
    image = imread(path)
    return min(image.shape[:2]) > 300 and np.ptp(image[..., :3]) > 0.5


@pytest.mark.parametrize("quantity", ["energy_per_atom", "forces", "stress"])
def test_a_parity_plot_has_a_panel_for_each_split(tmp_path, quantity):
    predictions = predict(store_of(tmp_path, [make_frame(0), make_frame(1)]), offset=0.1)
    assert draw_parity(tmp_path / "one.png", quantity, {"test": predictions})
    assert draw_parity(
        tmp_path / "two.png", quantity, {"train": predictions, "test": predictions}
    )
    assert is_drawn(tmp_path / "one.png")
    one, two = imread(tmp_path / "one.png"), imread(tmp_path / "two.png")
    assert two.shape[1] > 1.7 * one.shape[1]


def test_many_values_are_drawn_as_a_density(tmp_path):
    store = store_of(tmp_path, [make_frame(i) for i in range(10)])
    predictions = predict(store, offset=0.1, indices=list(range(10)) * 20)
    assert draw_parity(tmp_path / "forces.png", "forces", {"test": predictions})
    assert is_drawn(tmp_path / "forces.png")


def test_equal_values_can_be_drawn(tmp_path):
    predictions = predict(store_of(tmp_path, [make_frame(0)]))
    assert draw_parity(tmp_path / "energy.png", "energy_per_atom", {"test": predictions})


def test_a_label_that_no_frame_has_gives_no_file(tmp_path):
    store = store_of(tmp_path, [make_frame(0, molecule=True)])
    assert not draw_parity(tmp_path / "stress.png", "stress", {"test": predict(store)})
    assert not (tmp_path / "stress.png").exists()


def test_learning_curves_are_drawn_from_the_logged_rows(tmp_path):
    rows = [f"{i},{1 / (i + 1)},{2 / (i + 1)},{0.1 / (i + 1)},{0.3}\n" for i in range(5)]
    (tmp_path / "metrics.csv").write_text(HEADER + "".join(rows))
    assert draw_learning_curves(tmp_path / "curves.png", tmp_path / "metrics.csv")
    assert is_drawn(tmp_path / "curves.png")


def test_empty_cells_and_zeros_leave_a_gap(tmp_path):
    (tmp_path / "metrics.csv").write_text(
        HEADER + "0,1.0,,,\n1,0.0,nan,,0.2\n2,0.5,0.4,,\n"
    )
    assert draw_learning_curves(tmp_path / "curves.png", tmp_path / "metrics.csv")


@pytest.mark.parametrize("content", [None, "", HEADER, HEADER + "0,,,,\n"])
def test_without_rows_there_is_no_figure(tmp_path, content):
    if content is not None:
        (tmp_path / "metrics.csv").write_text(content)
    assert not draw_learning_curves(tmp_path / "curves.png", tmp_path / "metrics.csv")
    assert not (tmp_path / "curves.png").exists()


def test_drawing_changes_no_global_setting(tmp_path):
    before = dict(mpl.rcParams)
    predictions = predict(store_of(tmp_path, [make_frame(0)]))
    draw_parity(tmp_path / "forces.png", "forces", {"test": predictions})
    assert dict(mpl.rcParams) == before
