"""Packs texts into requests: in order, as full as both bounds of a request allow."""

from collections.abc import Iterable, Sequence


def fitting_texts(tokens: Iterable[int], *, texts_per_request: int, tokens_per_request: float) -> tuple[int, bool]:
    """How many of the first texts make one request, and whether it is full.

    `tokens`: billed tokens of each waiting text, in order; a bound of 0 is none. A text larger than
    `tokens_per_request` is a request of its own. A request is full when no further text could join it.

    >>> fitting_texts([40, 40, 40], texts_per_request=10, tokens_per_request=100)
    (2, True)
    >>> fitting_texts([40, 40], texts_per_request=10, tokens_per_request=100)
    (2, False)
    """
    texts, total = 0, 0
    for count in tokens:
        if texts and tokens_per_request and total + count > tokens_per_request:
            return texts, True
        texts, total = texts + 1, total + count
        if texts == texts_per_request or (tokens_per_request and total >= tokens_per_request):
            return texts, True
    return texts, False


def pack_requests(tokens: Sequence[int], *, texts_per_request: int, tokens_per_request: int) -> list[range]:
    """The requests that texts of these `tokens` make, as ranges of positions that cover all texts in order.

    >>> pack_requests([40, 40, 40], texts_per_request=10, tokens_per_request=100)
    [range(0, 2), range(2, 3)]
    """
    requests: list[range] = []
    start = 0
    while start < len(tokens):
        # A slice of unbounded length would make this quadratic.
        window = tokens[start : start + texts_per_request] if texts_per_request else tokens[start:]
        texts, _ = fitting_texts(window, texts_per_request=texts_per_request, tokens_per_request=tokens_per_request)
        requests.append(range(start, start + texts))
        start += texts
    return requests
