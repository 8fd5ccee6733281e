"""Braces tell where materials end, whatever stands in texts and however blocks are cut."""

import json

import numpy as np
import pytest

from mace_train.data.json_materials import MaterialEnd, material_ends

MATERIALS = {
    "mp-1": {"mp-1-0-0": {"a": [{"b": {}}]}, "mp-1-0-1": {}},
    "mp-}2{": {},
    'mp-"3\\': {'q"{\\': {"text": '}}"{\\\\"', "deep": {"deeper": {"x": 1}}}},
    "mp-4": {f"mp-4-0-{k}": {"k": k} for k in range(5)},
}
TEXT = json.dumps(MATERIALS).encode()


def expected():
    """The same by a parser: each end is where the text of the materials so far ends."""
    ends = []
    for count in range(1, len(MATERIALS) + 1):
        some = dict(list(MATERIALS.items())[:count])
        ends.append(len(json.dumps(some).encode()) - 1)
    return [MaterialEnd(end, len(m)) for end, m in zip(ends, MATERIALS.values())]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_ends_are_found_in_blocks_of_any_size(size):
    blocks = [TEXT[k : k + size] for k in range(0, len(TEXT), size)]

    assert list(material_ends(blocks)) == expected()


def test_random_cuts_change_nothing():
    generator = np.random.default_rng(0)
    for _ in range(50):
        cuts = np.sort(generator.integers(0, len(TEXT), 6)).tolist()
        blocks = [TEXT[a:b] for a, b in zip([0, *cuts], [*cuts, len(TEXT)])]
        assert list(material_ends(blocks)) == expected()


def test_a_walk_can_begin_between_materials():
    first, *rest = expected()

    found = list(material_ends([TEXT[first.offset :]], depth=1))

    assert [(end.offset + first.offset, end.num_frames) for end in found] == rest


def test_a_material_that_is_cut_off_has_no_end():
    assert list(material_ends([TEXT[:-3]])) == expected()[:-1]
