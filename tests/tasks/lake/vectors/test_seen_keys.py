"""Keys that have come by already are told from new ones, however many there were."""

import hashlib
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.lake import SeenKeys


def key(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


@given(st.lists(st.lists(st.integers(0, 30))))
def test_each_key_is_new_once(batches: Sequence[Sequence[int]]) -> None:
    before: set[int] = set()
    seen = SeenKeys()
    for batch in batches:
        new = [i for i, number in enumerate(batch) if number not in before and number not in batch[:i]]
        before.update(batch)
        assert seen.first_seen([key(number) for number in batch]) == new


def test_more_keys_than_are_asked_for_at_once() -> None:
    seen = SeenKeys()
    assert seen.first_seen([key(number) for number in range(2_500)]) == list(range(2_500))
    assert seen.first_seen([key(number) for number in range(2_499, 5_001)]) == list(range(1, 2_502))
