"""The short parser gives what ASE gives, or leaves the frame to ASE."""

import random

import numpy as np
import pytest

from mace_train.data.extxyz import read_with_ase
from mace_train.data.plain_frame import PlainFrameParser, TextFrame

WANTED = {
    "energy",
    "REF_energy",
    "free_energy",
    "stress",
    "virial",
    "dft_stress",
    "forces",
    "dft_forces",
    "mp_id",
    "run",
    "uid",
    "config_type",
    "config_weight",
}
NUMBERS = ["0", "-0.0", "1", "3.25", "-1e-3", "2.5E+02", "+4.", ".5", "nan", "NaN", "-inf"]
WORDS = ["bulk", "mp-12", "300K_MD", "T", "False", "12", "1.50", "-3", "1_000", "1e5", "é"]
ODD_WORDS = ["'a b'", "{x}", "[1,2]", '"a b"', '"1 2 3"', '"T F"', "a=b", '"_JSON [1, 2]"']
ODD_WORDS += [
    "1,2",
    '"q\\"uote"',
    '"a,b"',
    '"{"',
    '""',
    "back\\slash",
    '"x"y',
    '"_JSON {}"',
]


def text_frame(comment, atom_lines, cell_lines=()):
    lines = [line + "\n" for line in atom_lines]
    return TextFrame(0, 1, f"{len(lines)}\n", comment + "\n", lines, list(cell_lines))


def numbers(chance, count):
    return " ".join(f"{chance.gauss(0, 4):.{chance.randint(1, 12)}f}" for _ in range(count))


def random_pairs(chance):
    """Pairs of a comment line, in random order, most of them plain."""
    odd = chance.random() < 0.3
    words = WORDS + ODD_WORDS * odd
    pairs = []
    if chance.random() < 0.8:
        pairs.append(f'Lattice="{numbers(chance, 9)}"')
    if chance.random() < 0.7:
        flags = " ".join(chance.choice("TF") for _ in range(3))
        pairs.append(chance.choice([f'pbc="{flags}"'] * 5 + ["pbc=T", 'pbc="1 0 1"'] * odd))
    for key in ("energy", "REF_energy", "free_energy", "config_weight"):
        if chance.random() < 0.5:
            value = chance.choice([f"{chance.gauss(-50, 9)!r}", chance.choice(NUMBERS)])
            pairs.append(f"{key}={value}")
    for key in ("stress", "virial", "dft_stress"):
        if chance.random() < 0.4:
            pairs.append(f'{key}="{numbers(chance, 9)}"')
    for key in ("mp_id", "run", "uid", "config_type", "unwanted", "other-key", "a.b"):
        if chance.random() < 0.5:
            pairs.append(f"{key}={chance.choice(words)}")
    if odd and chance.random() < 0.3:
        pairs.append(chance.choice(["flag", "energy = 3", "x =4", "'k'=1", "energy"]))
    chance.shuffle(pairs)
    return pairs


def random_frame(chance):
    """A frame as some program might write it."""
    columns = {"species": ("S", 1), "pos": ("R", 3)}
    for name, kind, width in (
        ("forces", "R", 3),
        ("dft_forces", "R", 3),
        ("magmoms", "R", 1),
        ("mask", "L", 1),
        ("site", "I", 1),
        ("label", "S", 1),
    ):
        if chance.random() < 0.4:
            columns[name] = (kind, width)
    if chance.random() < 0.1:
        columns["Z"] = ("I", 1)
    names = list(columns)
    if chance.random() < 0.3:
        chance.shuffle(names)
    makers = {
        "species": lambda: chance.choice(["H", "O", "Si", "MG", "fe"]),
        "mask": lambda: chance.choice("TF"),
        "site": lambda: str(chance.randint(0, 9)),
        "label": lambda: chance.choice(["a", "b1"]),
        "Z": lambda: str(chance.randint(1, 94)),
    }
    lines = []
    for _ in range(chance.randint(1, 6)):
        cells = [
            makers.get(name, lambda name=name: numbers(chance, columns[name][1]))()
            for name in names
        ]
        lines.append(chance.choice(["  ", "\t", " "]).join(cells))
    pairs = random_pairs(chance)
    if chance.random() < 0.9:
        layout = ":".join(f"{name}:{columns[name][0]}:{columns[name][1]}" for name in names)
        pairs.insert(chance.randint(0, len(pairs)), f"Properties={layout}")
    return text_frame(chance.choice([" ", "  "]).join(pairs), lines)


def assert_same(mine, theirs):
    """Equal in all that the short parser was asked for."""
    for name in ("atomic_numbers", "positions", "cell", "pbc"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
    assert set(mine.values) == {key for key in theirs.values if key in WANTED}
    for key, value in mine.values.items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(theirs.values[key]))
        assert str(value) == str(theirs.values[key]) or np.ndim(value), key
    assert set(mine.columns) == {name for name in theirs.columns if name in WANTED}
    for name, array in mine.columns.items():
        np.testing.assert_array_equal(array, theirs.columns[name])
    assert set(mine.names) == set(theirs.names)


@pytest.mark.parametrize("seed", range(10))
def test_what_the_short_parser_reads_equals_the_result_of_ase(seed):
    chance = random.Random(seed)
    parser = PlainFrameParser(WANTED)
    num_plain = 0

    for _ in range(60):
        text = random_frame(chance)
        mine = parser.parse(text)
        if mine is not None:
            num_plain += 1
            assert_same(mine, read_with_ase(text))

    assert num_plain > 20


PLAIN = 'Lattice="4 0 0 0 5 0 0 0 6" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5'
ATOM = "Si 0 0 0 0.1 0.2 0.3"


def parse(comment, *atom_lines, cell_lines=()):
    return PlainFrameParser(WANTED).parse(text_frame(comment, atom_lines, cell_lines))


def test_a_plain_frame_is_read():
    raw = parse(PLAIN + " mp_id=mp-7", ATOM, "O 1 2 3 -.1 -.2 -.3")

    assert raw.atomic_numbers.tolist() == [14, 8]
    assert raw.positions.tolist() == [[0, 0, 0], [1, 2, 3]]
    assert raw.columns["forces"].tolist() == [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]]
    assert raw.cell.tolist() == [[4, 0, 0], [0, 5, 0], [0, 0, 6]]
    assert raw.pbc.tolist() == [True, True, True]
    assert raw.values == {"energy": -1.5, "mp_id": "mp-7"}
    assert raw.names == ("energy", "mp_id", "forces")


def test_integers_with_an_underscore_are_read_as_ase_reads_them():
    text = text_frame(PLAIN + " run=1234_0", [ATOM])
    raw = PlainFrameParser(WANTED).parse(text)

    assert raw.values["run"] == read_with_ase(text).values["run"] == 12340


def test_a_column_called_like_a_group_key_does_not_slow_the_reading_down():
    comment = PLAIN.replace("forces:R:3", "forces:R:3:mol_id:I:1:group:S:1") + " group=a"
    text = text_frame(comment, [ATOM + " 4 b"])
    raw = PlainFrameParser({*WANTED, "mol_id", "group"}).parse(text)

    assert raw is not None
    assert raw.values == {"energy": -1.5, "group": "a"}
    assert list(raw.columns) == ["forces"]


OFFERED = (
    'Lattice="4 0 0 0 5 0 0 0 6" energy=-1.5 U0=-2 corrected_total_energy=-1.4 qm_energy=x '
    'mace_stress="1 2 3 4 5 6" W_virial="1 2 3 4 5 6 7 8 9" stress_units=GPa '
    "Properties=species:S:1:pos:R:3:ml_forces:R:3:forces:R:3:force_error:R:3:force_rms:R:1"
)


def test_values_and_columns_that_look_like_labels_are_offered_by_both_readers():
    text = text_frame(OFFERED, ["Si" + 13 * " 0.5"])
    mine, theirs = PlainFrameParser(WANTED).parse(text), read_with_ase(text)

    expected = {
        ("energy", "U0"),
        ("stress", "mace_stress"),
        ("virials", "W_virial"),
        ("forces", "ml_forces"),
    }
    assert set(mine.offers) == expected
    assert {offer for offer in theirs.offers if offer[1] not in WANTED} == expected


def test_arrays_of_a_plain_frame_can_be_written():
    raw = parse(PLAIN + ' pbc="T T F"', ATOM)

    for array in (raw.positions, raw.cell, raw.pbc, raw.columns["forces"]):
        assert array.flags.writeable
        assert array.flags.c_contiguous


def test_six_numbers_are_a_stress_in_the_order_of_ase():
    raw = parse(PLAIN + ' stress="1 2 3 4 5 6"', ATOM)

    assert raw.values["stress"].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "comment",
    [
        "plain words that say nothing",
        PLAIN.replace("Lattice", "'Lattice'"),
        PLAIN + ' mp_id="mp-\\"7"',
        PLAIN + " energy",
        PLAIN + " pbc=T",
        PLAIN + ' mp_id="_JSON [1]"',
        PLAIN + ' mp_id="1,2"',
        PLAIN + ' run=""',
        PLAIN + ' stress="1 2 3"',
        PLAIN + " config_weight=1_0.5",
        PLAIN.replace("species:S:1", "Z:I:1"),
        PLAIN.replace("forces:R:3", "forces:I:3"),
        PLAIN.replace("forces:R:3", "forces:R:x"),
        PLAIN.replace('0 6"', '6"'),
    ],
)
def test_odd_comments_are_left_to_ase(comment):
    assert parse(comment, ATOM) is None


@pytest.mark.parametrize(
    "line", ["Xx 0 0 0 1 1 1", "Si 0 0 0 1 1", "Si 0 0 0 1 1 1 1", "Si 0 0 0 1 1 one"]
)
def test_odd_atoms_are_left_to_ase(line):
    assert parse(PLAIN, ATOM, line) is None


def test_cell_vectors_below_the_atoms_are_left_to_ase():
    assert parse(PLAIN, ATOM, cell_lines=["VEC1 4 0 0\n"]) is None
