import copy

from mace_train.training.position import Position, write_progress


def counts(ready=0, started=0, processed=0, completed=0):
    return {
        "ready": ready,
        "started": started,
        "processed": processed,
        "completed": completed,
    }


def loops():
    """As Lightning's are in a hook at the end of batch 3 of epoch 1."""
    return {
        "fit_loop": {
            "epoch_progress": {"total": counts(2, 2, 1, 1), "current": counts(2, 2, 1, 1)},
            "epoch_loop.batch_progress": {
                "total": counts(7, 7, 7, 6),
                "current": counts(3, 3, 3, 2),
                "is_last_batch": False,
            },
            "epoch_loop.val_loop.batch_progress": {
                "total": counts(2, 2, 2, 2),
                "current": counts(2, 2, 2, 2),
            },
        }
    }


def test_in_mid_epoch_the_batch_counts_as_done_and_the_epoch_does_not():
    told = loops()
    write_progress(told, Position(epoch=1, batches_done=3, num_batches=4))
    fit = told["fit_loop"]
    assert fit["epoch_loop.batch_progress"]["current"] == counts(3, 3, 3, 3)
    assert not fit["epoch_loop.batch_progress"]["is_last_batch"]
    assert fit["epoch_progress"] == loops()["fit_loop"]["epoch_progress"]
    assert fit["epoch_loop.val_loop.batch_progress"]["total"] == counts()


def test_after_the_last_batch_the_validation_is_to_be_done():
    told = loops()
    write_progress(told, Position(epoch=1, batches_done=4, num_batches=4))
    fit = told["fit_loop"]
    assert fit["epoch_loop.batch_progress"]["is_last_batch"]
    assert fit["epoch_loop.val_loop.batch_progress"]["total"] == counts(1, 1)


def test_at_the_end_of_an_epoch_it_counts_as_completed():
    told = loops()
    told["fit_loop"]["epoch_progress"]["current"] = counts(2, 2, 2, 1)
    expected = copy.deepcopy(told)
    write_progress(told, Position(epoch=2))
    expected["fit_loop"]["epoch_progress"]["current"]["completed"] = 2
    assert told == expected


def test_a_checkpoint_of_whole_epochs_only_is_at_the_beginning_of_one():
    position = Position.from_entry({"num_epochs": 3})
    assert (position.epoch, position.is_mid_epoch) == (3, False)


def test_a_position_comes_back_from_a_checkpoint():
    position = Position(2, 5, 8, {"seconds": 1.0})
    entry = {"position": position.state_dict(), "sampler": {"epoch": 2}}
    assert Position.from_entry(entry) == Position(2, 5, 8, {"seconds": 1.0}, {"epoch": 2})
