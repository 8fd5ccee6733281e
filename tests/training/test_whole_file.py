"""Files are complete or absent."""

from mace_train.training.whole_file import finish_file, partial_name, write_whole


def test_a_finished_file_replaces_the_older_one(tmp_path):
    path = tmp_path / "a.ckpt"
    partial = partial_name(path)
    path.write_text("old")
    partial.write_text("new")
    finish_file(partial, path)
    assert path.read_text() == "new"
    assert not partial.exists()


def test_a_text_is_written_whole_and_nothing_else_is_left(tmp_path):
    write_whole(tmp_path / "status.json", "Å")
    write_whole(tmp_path / "status.json", "Å and more")
    assert (tmp_path / "status.json").read_text(encoding="utf-8") == "Å and more"
    assert len(list(tmp_path.iterdir())) == 1
