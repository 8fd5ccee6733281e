from mace_train.training.rank_strategy import RankStrategy, leave_stopping_to_wishes
from mace_train.training.trainer import TrainerSettings


def test_lightning_does_not_ask_for_signals_in_every_step(tmp_path):
    trainer = TrainerSettings(max_epochs=1, accelerator="cpu").build(tmp_path)
    question = trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor
    assert question() is None  # without processes to talk to
    assert "rank_strategy" in question.__module__


def test_several_processes_train_without_a_wrapper(tmp_path):
    settings = TrainerSettings(max_epochs=1, accelerator="cpu", devices=2)
    trainer = settings.build(tmp_path)
    assert isinstance(trainer.strategy, RankStrategy)
    leave_stopping_to_wishes(trainer)
