import sys
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.image import imread

from mace_train.finetuning.before_after_figure import draw_before_after

sys.path.insert(0, str(Path(__file__).parent))
from compared_models import comparison, errors, row

GUARD = row("guard", errors(0.0, 0.0), errors(0.004, 0.012))


def drawn(monkeypatch, path, compared):
    """The panels of the figure that is written."""
    figures = []
    save = Figure.savefig

    def spy(figure, *args, **options):
        figures.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    assert draw_before_after(path, compared)
    return figures[0].axes


def test_bars_have_the_heights_of_the_errors(tmp_path, monkeypatch):
    path = tmp_path / "before_after.png"
    panels = drawn(monkeypatch, path, comparison(row(), GUARD))
    assert [axes.get_title(loc="left") for axes in panels] == [
        "energy",
        "force components",
        "stress components",
    ]
    assert panels[1].get_ylabel() == "MAE (meV/Å)"
    heights = [[bar.get_height() for bar in bars] for bars in panels[1].containers]
    assert heights == [[210.0, 0.0], [34.0, 12.0]]
    names = [tick.get_text() for tick in panels[1].get_xticklabels()]
    assert names == ["valid", "guard"]
    assert len(panels[2].get_xticklabels()) == 1  # the guard has no stress
    image = imread(path)
    assert image.shape[0] > 300
    assert image.std() > 0.05
    assert [one.name for one in tmp_path.iterdir()] == ["before_after.png"]


def test_heads_and_what_the_parent_is_stand_in_the_figure(tmp_path, monkeypatch):
    rows = [row(head="mine", came=errors(3.0, 0.2)), replace(GUARD, head="old")]
    panels = drawn(monkeypatch, tmp_path / "a.png", comparison(*rows))
    names = [tick.get_text() for tick in panels[0].get_xticklabels()]
    assert names == ["valid\nmine", "guard\nold"]
    _, labels = panels[0].get_legend_handles_labels()
    assert labels == ["parent, with the new E0s", "fine-tuned"]


def test_a_diverged_model_is_written_beside_its_missing_bar(tmp_path, monkeypatch):
    compared = comparison(replace(row(), after=None))
    panels = drawn(monkeypatch, tmp_path / "a.png", compared)
    assert "not finite" in {text.get_text() for text in panels[0].texts}


def test_without_labels_there_is_no_figure(tmp_path):
    nothing = errors(None, None)
    path = tmp_path / "a.png"
    assert not draw_before_after(path, comparison(row(before=nothing, after=nothing)))
    assert not path.exists()
