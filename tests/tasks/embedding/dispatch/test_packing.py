from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.embedding.dispatch.packing import fitting_texts, pack_requests

TOKENS = st.lists(st.integers(0, 300), max_size=80)
TEXTS = st.integers(1, 12)
BUDGET = st.sampled_from([0, 1, 100, 256, 1000])


@given(TOKENS, TEXTS, BUDGET)
def test_requests_hold_every_text_once_in_order(tokens: list[int], texts: int, budget: int) -> None:
    requests = pack_requests(tokens, texts_per_request=texts, tokens_per_request=budget)
    assert [position for request in requests for position in request] == list(range(len(tokens)))


@given(TOKENS, TEXTS, BUDGET)
def test_no_request_passes_a_bound_unless_it_is_one_text(tokens: list[int], texts: int, budget: int) -> None:
    for request in pack_requests(tokens, texts_per_request=texts, tokens_per_request=budget):
        assert 1 <= len(request) <= texts
        assert len(request) == 1 or not budget or sum(tokens[position] for position in request) <= budget


@given(TOKENS, TEXTS, BUDGET)
def test_every_request_is_full_but_the_last(tokens: list[int], texts: int, budget: int) -> None:
    requests = pack_requests(tokens, texts_per_request=texts, tokens_per_request=budget)
    for request in requests[:-1]:
        sent = sum(tokens[position] for position in request)
        assert len(request) == texts or (budget and sent + tokens[request.stop] > budget) or (budget and sent >= budget)


@given(TOKENS, TEXTS, BUDGET)
def test_packing_as_texts_arrive_makes_the_same_requests_as_packing_all_at_once(
    tokens: list[int], texts: int, budget: int
) -> None:
    arriving, sizes = list(tokens), []
    while arriving:
        size, _ = fitting_texts(arriving, texts_per_request=texts, tokens_per_request=budget)
        sizes.append(size)
        arriving = arriving[size:]
    assert sizes == [len(r) for r in pack_requests(tokens, texts_per_request=texts, tokens_per_request=budget)]


def test_short_texts_make_a_tenth_as_many_requests() -> None:
    assert len(pack_requests([50] * 1001, texts_per_request=10, tokens_per_request=20_000)) == 101


def test_a_text_larger_than_the_budget_goes_alone() -> None:
    requests = pack_requests([5, 500, 5], texts_per_request=10, tokens_per_request=100)
    assert requests == [range(1), range(1, 2), range(2, 3)]
