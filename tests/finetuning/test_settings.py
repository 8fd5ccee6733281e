import pytest

from mace_train.finetuning.settings import FEW_FRAMES, FineTuning


@pytest.mark.parametrize(
    ("num_frames", "has_replay", "method"),
    [
        (FEW_FRAMES - 1, False, "lora"),
        (FEW_FRAMES, False, "full"),
        (10, True, "replay"),
        (10_000, True, "replay"),
    ],
)
def test_auto_goes_by_frames_and_replay_and_says_why(num_frames, has_replay, method):
    chosen, reason = FineTuning(recipes={}).choose_method(
        num_frames=num_frames, has_replay=has_replay
    )
    assert chosen == method
    assert ("data.replay" in reason) == has_replay
    assert has_replay or str(num_frames) in reason


def test_a_method_that_was_asked_for_is_taken():
    asked = FineTuning(recipes={}, method="freeze")
    assert asked.choose_method(num_frames=3, has_replay=True) == (
        "freeze",
        "finetune.method=freeze",
    )
