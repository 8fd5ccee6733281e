"""Names of files of frames, and spans."""

from pathlib import Path

from mace_train.data.frame_source import FrameFile, Mark, Span


def test_a_member_is_named_behind_its_archive():
    assert str(FrameFile(Path("/a/b.zip"), member="c/d.xyz")) == "/a/b.zip/c/d.xyz"
    assert str(FrameFile(Path("/a/b.xyz"))) == "/a/b.xyz"


def test_a_span_is_the_whole_file_unless_said_otherwise():
    assert Span() == (Mark(frame=0, offset=0, line=1), None)


def test_a_member_with_an_absolute_name_is_inside_its_archive():
    assert str(FrameFile(Path("d/a.zip"), member="/x/a.xyz")) == "d/a.zip/x/a.xyz"
