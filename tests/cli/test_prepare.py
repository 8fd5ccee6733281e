import sys

import pytest

from mace_train.cli.prepare import main


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
