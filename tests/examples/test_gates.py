"""Gates: what passes, what is written, and the table between the markers."""

import json
import os
from pathlib import Path

import pytest


@pytest.fixture
def gates(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
    import gates

    return gates


def test_a_gate_passes_within_its_limit_and_a_nan_never_does(gates):
    assert gates.Gate("a", -1.0, 1.0).passed is True
    assert gates.Gate("a", -1.1, 1.0).passed is False
    assert gates.Gate("a", float("nan"), 1.0).passed is False
    assert gates.Gate("a", 5.0).passed is None


def test_the_table_holds_what_was_written(gates, tmp_path):
    folder = tmp_path / "phonons_silicon"
    folder.mkdir()
    found = [gates.Gate("good", 0.5, 1.0, "0.4, theirs"), gates.Gate("bad", 2.0, 1.0)]
    gates.write_gates(folder, found)
    rows = json.loads((folder / "gates.json").read_text(encoding="utf-8"))
    assert rows[0] == {
        "name": "good",
        "value": 0.5,
        "limit": 1.0,
        "passed": True,
        "published": "0.4, theirs",
    }
    table = gates.table(tmp_path)
    assert "| phonons_silicon | good | 0.5 | 1 | yes | 0.4, theirs |" in table
    assert "| phonons_silicon | bad | 2 | 1 | **no** |  |" in table
    assert "| phonons_nacl | not run yet |" in table
    widths = {line.count("|") for line in table.splitlines()}
    assert widths == {7}


def test_only_what_is_between_the_markers_is_written_anew(gates):
    page = f"above\n{gates.BEGIN}\nold\n{gates.END}\nbelow\n"
    again = gates.with_table(page, "new")
    assert again == f"above\n{gates.BEGIN}\nnew\n{gates.END}\nbelow\n"
    assert gates.with_table(again, "new") == again


def test_the_page_has_the_markers_and_every_example_is_there(gates):
    page = gates.PAGE.read_text(encoding="utf-8")
    assert page.count(gates.BEGIN) == page.count(gates.END) == 1
    for script, _, _ in gates.EXAMPLES.values():
        assert (gates.ROOT / "examples" / script).is_file()
        assert f"../examples/{script}" in page


def test_an_example_is_done_until_its_model_changes(gates, tmp_path):
    model = tmp_path / "nacl.safetensors"
    result = tmp_path / "results" / "phonons_nacl" / "gates.json"
    done = ("phonons_nacl", model, tmp_path / "results")
    assert not gates.is_done(*done)
    result.parent.mkdir(parents=True)
    result.touch()
    model.touch()
    names = ("phonons.py", "reference_crystals.py", "structures/nacl.py")
    scripts = [gates.ROOT / "examples" / name for name in names]
    script = max(path.stat().st_mtime for path in scripts)
    times = {model: script + 10, result: script + 20}
    for path, time in times.items():
        os.utime(path, (time, time))
    assert gates.is_done(*done)
    os.utime(model, (script + 30, script + 30))
    assert not gates.is_done(*done)


def test_another_model_for_all_leaves_the_page_alone(gates, tmp_path, monkeypatch, capsys):
    script = tmp_path / "examples" / "script.py"
    script.parent.mkdir()
    script.write_text(
        "import sys; from pathlib import Path\n"
        "words = sys.argv[1:]; folder = Path(words[words.index('--output') + 1])\n"
        "folder.mkdir(parents=True)\n"
        "(folder / 'gates.json').write_text('[]')\n"
        "(folder / 'words').write_text(str(words))\n"
    )
    model = tmp_path / "mine.safetensors"
    model.touch()
    monkeypatch.setattr(gates, "ROOT", tmp_path)
    monkeypatch.setattr(gates, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(gates, "EXAMPLES", {"one": ("script.py", "taught", ["DATA/f"])})
    page = gates.PAGE.read_text(encoding="utf-8")
    words = ["gates.py", "--only", "one", "--model", str(model), "--data-dir", "/frames"]
    monkeypatch.setattr("sys.argv", words)
    gates.main()
    said = (tmp_path / "results" / "mine" / "one" / "words").read_text()
    assert str(model) in said
    assert "/frames/f" in said
    assert (tmp_path / "results" / "mine" / "gates.md").is_file()
    assert gates.PAGE.read_text(encoding="utf-8") == page
    monkeypatch.setattr("sys.argv", ["gates.py", "--model", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="no such file"):
        gates.main()


def test_models_of_two_runs_have_results_of_their_own(gates):
    assert gates.name_of(Path("runs/silicon/model.safetensors")) == "silicon"
    assert gates.name_of(Path("runs/nacl/model.safetensors")) == "nacl"
    assert gates.name_of(Path("mine.safetensors")) == "mine"


def test_every_example_is_short_and_has_its_figure_and_rows(gates):
    page = gates.PAGE.read_text(encoding="utf-8")
    for name, (script, _, _) in gates.EXAMPLES.items():
        text = (gates.ROOT / "examples" / script).read_text(encoding="utf-8")
        assert len(text.splitlines()) < 120, script
        assert (gates.FIGURES / f"example_{name}.png").is_file()
        assert f"figures/example_{name}.png" in page
        assert f"\n| {name} | " in page
    assert "not run yet" not in page
