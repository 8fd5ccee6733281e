import torch

from mace_train.model.blocks import deal


def test_every_item_gets_its_own_slot_in_a_block_of_its_group():
    group = torch.randint(0, 7, (50,))
    blocks = deal(group, 7, size=4)
    assert len(set(blocks.slot.tolist())) == 50
    torch.testing.assert_close(blocks.group[blocks.slot // 4], group)
    torch.testing.assert_close(blocks.items()[blocks.slot], torch.arange(50))


def test_only_the_last_block_of_a_group_has_empty_slots():
    blocks = deal(torch.tensor([2, 2, 0, 2, 2, 2]), 3, size=2)
    assert blocks.group.tolist() == [0, 2, 2, 2]
    assert blocks.slot.tolist() == [2, 3, 0, 4, 5, 6]
    assert blocks.num_slots == 8


def test_nothing_is_dealt_into_no_blocks():
    blocks = deal(torch.zeros(0, dtype=torch.int64), 3, size=4)
    assert blocks.num_slots == 0
    assert blocks.items().tolist() == []
