from small_crystals import small_model

from mace_train.cli.finetune_report import model_to_keep


def config(*, keep):
    return {"finetune": {"keep_parent_head": keep}}


def test_one_head_is_kept_whatever_is_asked_for():
    model = small_model((3, 8))
    assert model_to_keep(config(keep=False), model) is model


def test_the_parents_head_is_kept_or_left_out():
    model = small_model((3, 8), heads=("mine", "parent"))
    assert model_to_keep(config(keep=True), model) is model
    assert model_to_keep(config(keep=False), model).heads == ("mine",)
