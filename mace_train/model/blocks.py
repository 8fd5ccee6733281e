"""Items that belong to groups, dealt into equal blocks for batched products.

Edges are dealt by receiver and atoms by element. A group takes as many blocks as it needs
and only its last one has empty slots, so little work is wasted however unequal the groups
are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Blocks:
    """Where each item lies in a table of blocks x slots.

    Attributes:
        size: Slots in a block.
        group: The group that all items of a block belong to.
        slot: The slot of each item, counted through all blocks.
    """

    size: int
    group: Int[Tensor, " blocks"]
    slot: Int[Tensor, " items"]

    @property
    def num_slots(self) -> int:
        """Slots in all blocks, empty ones included."""
        return self.size * self.group.shape[0]

    def items(self) -> Int[Tensor, " slots"]:
        """The item in each slot; 0 in empty ones."""
        items = self.slot.new_zeros(self.num_slots)
        items[self.slot] = torch.arange(self.slot.shape[0], device=self.slot.device)
        return items


def deal(group: Int[Tensor, " items"], num_groups: int, *, size: int) -> Blocks:
    """Give every item a slot in a block of its group, keeping the order within a group.

    >>> blocks = deal(torch.tensor([1, 0, 1, 1]), 2, size=2)
    >>> blocks.group.tolist(), blocks.slot.tolist()
    ([0, 1, 1], [2, 0, 3, 4])
    """
    counts = torch.bincount(group, minlength=num_groups)
    num_blocks = (counts + size - 1) // size
    first_slot = (num_blocks.cumsum(0) - num_blocks) * size
    first_item = counts.cumsum(0) - counts
    order = torch.argsort(group, stable=True)
    in_order = group[order]
    slot = torch.empty_like(group)
    rank = torch.arange(group.shape[0], device=group.device) - first_item[in_order]
    slot[order] = rank + first_slot[in_order]
    groups = torch.arange(num_groups, device=group.device)
    return Blocks(size, groups.repeat_interleave(num_blocks), slot)
