import json
from dataclasses import replace

import pytest
import torch

from mace_train.exports.export import export_model, metadata_path

METADATA = {"versions": {"mace-train": "0.1.0"}}


def wrong(prediction):
    return replace(prediction, energy=prediction.energy + 1e-6)


def test_a_file_that_agrees_is_kept_with_its_origin_beside_it(
    small_model, pretended_format, tmp_path
):
    path = tmp_path / "new" / "model.pretended"
    comparison = export_model(small_model(), path, pretended_format(), metadata=METADATA)
    assert json.loads(path.read_text()) == METADATA
    record = json.loads(metadata_path(path).read_text())
    assert record["versions"] == METADATA["versions"]
    assert record["comparison"]["deviation"] == comparison.deviation
    assert record["comparison"]["num_frames"] == comparison.num_frames
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "model.pretended",
        "model.pretended.json",
    ]


def test_a_file_that_differs_is_refused_and_removed(
    small_model, pretended_format, tmp_path
):
    form = pretended_format(wrong)
    with pytest.raises(ValueError, match=r"the export is not done: energy differ by 1e-06"):
        export_model(small_model(), tmp_path / "m.pretended", form, metadata={})
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_if_the_new_one_differs(
    small_model, pretended_format, tmp_path
):
    path = tmp_path / "m.pretended"
    path.write_text("older")
    with pytest.raises(ValueError, match="not done"):
        export_model(small_model(), path, pretended_format(wrong), metadata={})
    assert path.read_text() == "older"


def test_nothing_is_left_if_writing_fails(small_model, pretended_format, tmp_path):
    form = pretended_format()

    def fail(path, model, metadata):
        path.write_text("half")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        export_model(small_model(), tmp_path / "m", replace(form, write=fail), metadata={})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_named(
    small_model, pretended_format, tmp_path
):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "m.pretended"
    with pytest.raises(ValueError, match=r"cannot write into .*file: "):
        export_model(small_model(), path, pretended_format(), metadata={})


def test_a_missing_package_is_told_before_anything_is_written(
    small_model, pretended_format, tmp_path
):
    def require():
        raise ImportError("pip install what-is-missing")

    form = pretended_format(require=require)
    with pytest.raises(ImportError, match="what-is-missing"):
        export_model(small_model(), tmp_path / "m", form, metadata={})
    assert list(tmp_path.iterdir()) == []


def test_several_heads_are_refused_where_a_file_holds_one(
    small_model, pretended_format, tmp_path
):
    form = pretended_format(takes_several_heads=False)
    model = small_model(heads=("pbe", "scan"))
    with pytest.raises(ValueError, match=r"holds one head.*pbe \| scan"):
        export_model(model, tmp_path / "m", form, metadata={})


def test_a_model_that_predicts_nan_is_not_exported(small_model, pretended_format, tmp_path):
    model = small_model()
    with torch.no_grad():
        model.node_embedding.linear.weight[0] = float("nan")
    with pytest.raises(ValueError, match="the model itself predicts"):
        export_model(model, tmp_path / "m", pretended_format(), metadata={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("dtype", "is_refused"), [("float32", False), ("float64", True)])
def test_float32_has_the_limit_of_float32(
    small_model, pretended_format, tmp_path, dtype, is_refused
):
    model, form = small_model().to(getattr(torch, dtype)), pretended_format(wrong)
    if is_refused:
        with pytest.raises(ValueError, match="not done"):
            export_model(model, tmp_path / "m", form, metadata={})
    else:
        assert export_model(model, tmp_path / "m", form, metadata={}).problems == []
