"""Changes that damage bytes as a broken disk, a cut transfer or an attacker would."""

import struct
from collections.abc import Callable, Sequence
from random import Random

LARGEST = 1 << 18  # bytes of a mutated input
HEADER = 256  # bytes in which formats keep the numbers that matter
CHANGES_AT_A_TIME = (1, 1, 1, 2, 2, 3, 5)
MAX_REPEATS = 400
SIZES = {1: "B", 2: "H", 4: "I", 8: "Q"}


def mutated(data: bytes, chance: Random, others: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
    """`data` after one change to five; `others` are what is spliced in, `words` what is inserted."""
    for _ in range(chance.choice(CHANGES_AT_A_TIME)):
        change = _insert_word if words and chance.random() < 0.4 else chance.choice(CHANGES)
        data = change(data, chance, words if change is _insert_word else others)[:LARGEST]
    return data


def place_in(data: bytes, chance: Random) -> int:
    """Somewhere in `data`: half of the time in its first bytes, now and then in its last."""
    kind, end = chance.random(), len(data)
    if kind < 0.5:
        return chance.randint(0, min(end, HEADER))
    return chance.randint(max(0, end - HEADER), end) if kind < 0.65 else chance.randint(0, end)


def _flip(data: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8) if data else 0):
        changed[min(place_in(data, chance), len(data) - 1)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _set_number(data: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    """A whole number at some place, at an extreme or close to the length of all."""
    size = chance.choice((1, 2, 4, 8))
    top = 1 << 8 * size
    near = len(data) + chance.randint(-2, 2)
    value = chance.choice((0, 1, 2, top // 2 - 1, top // 2, top - 1, top - 2, near, 8 * near, top // 256))
    order = chance.choice("<>")
    place = place_in(data, chance)
    return data[:place] + struct.pack(order + SIZES[size], value % top) + data[place + size :]


def _cut(data: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    place = place_in(data, chance)
    return data[place:] if chance.random() < 0.1 else data[:place]


def _remove(data: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    start, end = _chunk(data, chance)
    return data[:start] + data[end:]


def _repeat(data: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    start, end = _chunk(data, chance)
    times = chance.choice((2, 3, 10, MAX_REPEATS))
    return data[:start] + data[start:end] * min(times, 1 + LARGEST // max(1, end - start)) + data[end:]


def _swap(data: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    (first, second), (third, fourth) = sorted([_chunk(data, chance), _chunk(data, chance)])
    if third < second:
        return data
    return data[:first] + data[third:fourth] + data[second:third] + data[first:second] + data[fourth:]


def _splice(data: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    other = chance.choice(others)
    return data[: place_in(data, chance)] + other[place_in(other, chance) :]


def _insert(data: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    other, place = chance.choice(others), place_in(data, chance)
    start, end = _chunk(other, chance)
    return data[:place] + other[start:end] + data[place:]


def _append(data: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    return data + chance.choice(others)


def _noise(data: bytes, chance: Random, others: Sequence[bytes]) -> bytes:
    place, size = place_in(data, chance), chance.choice((1, 4, 64))
    return data[:place] + chance.randbytes(size) + data[place + chance.choice((0, size)) :]


def _insert_word(data: bytes, chance: Random, words: Sequence[bytes]) -> bytes:
    place = chance.randint(0, len(data))
    return data[:place] + chance.choice(words) * chance.choice((1, 1, 1, 2, 50)) + data[place:]


def _chunk(data: bytes, chance: Random) -> tuple[int, int]:
    start = place_in(data, chance)
    return start, min(len(data), start + chance.choice((1, 2, 4, 12, 64, 512, len(data))))


Change = Callable[[bytes, Random, Sequence[bytes]], bytes]
CHANGES: tuple[Change, ...] = (
    _flip, _flip, _set_number, _set_number, _set_number, _cut, _remove, _repeat, _swap, _splice, _insert,
    _append, _noise,
)  # fmt: skip
