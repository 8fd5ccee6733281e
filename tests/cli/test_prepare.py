import sys
from pathlib import Path

import pytest

from mace_train.cli.prepare import main
from mace_train.cli.train import main as train


def test_the_command_writes_shards(frames_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"data.train={frames_file}", "output=shards", "workers=1"]
    monkeypatch.setattr(sys, "argv", ["mace-prepare", *words])
    main()
    assert [path.suffix for path in (tmp_path / "shards").iterdir()] == [".h5"]


def test_input_that_cannot_be_read_ends_with_one_message(tmp_path, monkeypatch, capsys):
    broken = tmp_path / "broken.xyz"
    broken.write_text("2\nnot finished\nLi 0 0 0\n")
    words = [f"data.train={broken}", f"output={tmp_path / 'shards'}", "workers=1"]
    monkeypatch.setattr(sys, "argv", ["mace-prepare", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert "broken.xyz" in capsys.readouterr().err


def test_shards_of_refused_frames_are_trained_on_only_if_accepted(
    frames_file, tmp_path, monkeypatch, capsys, tiny_run
):
    path = Path(frames_file)
    path.write_text(path.read_text().replace("energy=", "energy=nan x=", 1))
    shards = tmp_path / "shards"
    words = [f"data.train={frames_file}", f"output={shards}", "workers=1"]
    tiny = [word for word in tiny_run if not word.startswith("data.train=")]

    def command(name, function, *words):
        monkeypatch.setattr(sys, "argv", [name, *words])
        try:
            function()
        except SystemExit as ending:
            return ending.code, capsys.readouterr()
        return 0, capsys.readouterr()

    assert command("mace-prepare", main, *words)[0] == 1
    code, told = command("mace-train", train, *tiny, f"data.train={shards}")
    assert (code, "1 refused frames" in told.err) == (1, True)
    code, told = command("mace-prepare", main, *words, "bad_frames=leave_out")
    assert (code, "(0 written now)" in told.out) == (0, True)
    assert command("mace-train", train, *tiny, f"data.train={shards}")[0] == 0
