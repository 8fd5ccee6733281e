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


def test_an_example_is_done_until_its_model_changes(gates, tmp_path, monkeypatch):
    monkeypatch.setattr(gates, "MODELS", tmp_path / "models")
    monkeypatch.setattr(gates, "RESULTS", tmp_path / "results")
    assert not gates.is_done("phonons_nacl")
    model = tmp_path / "models" / "nacl" / "model.safetensors"
    result = tmp_path / "results" / "phonons_nacl" / "gates.json"
    for path in (model, result):
        path.parent.mkdir(parents=True)
        path.touch()
    scripts = [
        gates.ROOT / "examples" / name for name in ("phonons.py", "reference_crystals.py")
    ]
    script = max(path.stat().st_mtime for path in scripts)
    times = {model: script + 10, result: script + 20}
    for path, time in times.items():
        os.utime(path, (time, time))
    assert gates.is_done("phonons_nacl")
    os.utime(model, (script + 30, script + 30))
    assert not gates.is_done("phonons_nacl")
