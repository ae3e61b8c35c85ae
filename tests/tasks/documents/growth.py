"""Measure whether the time of a reader grows with the length of the text, and no faster."""

import gc
import random
import time
from collections.abc import Callable

_MIN_SECONDS = 0.05
"""Shorter times say nothing: a clock tick or a cache decides them."""
_MIN_SIZE, _MAX_SIZE = 1 << 14, 1 << 17
_TRIES = 25


def growth(read: Callable[[str], object], text_of_size: Callable[[int], str]) -> float:
    """The CPU time for a text of twice the size, relative to that for a text of the size; the best of several tries.

    0 for a reader that is too fast to be measured with a text of 128 kB, as it is not if its time grows with the square.
    """
    size = _MIN_SIZE
    while _seconds(read, text_of_size(size)) < _MIN_SECONDS:
        size *= 2
        if size > _MAX_SIZE:
            return 0.0
    shorter, longer = text_of_size(size), text_of_size(2 * size)
    shorter_s = longer_s = float("inf")
    for _ in range(_TRIES):
        shorter_s = min(shorter_s, _seconds(read, shorter))
        longer_s = min(longer_s, _seconds(read, longer))
        if longer_s <= 2.3 * shorter_s:
            break
    return longer_s / shorter_s


def hostile_blocks(pieces: list[str], seeds: int) -> list[str]:
    """Each piece alone, and `seeds` sequences of two to four pieces drawn at random."""
    draws = (random.Random(seed) for seed in range(seeds))
    return [*pieces, *("".join(draw.choices(pieces, k=draw.randint(2, 4))) for draw in draws)]


def repeated(block: str, size: int) -> str:
    """The block again and again, until there are `size` characters."""
    return block * (size // len(block) + 1)


def _seconds(read: Callable[[str], object], text: str) -> float:
    gc.disable()  # the collector looks at all objects of the tests, which says nothing about the reader
    try:
        began = time.process_time()
        read(text)
        return time.process_time() - began
    finally:
        gc.enable()
