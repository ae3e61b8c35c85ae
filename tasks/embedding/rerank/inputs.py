"""Prepares a query and documents for reranking: no duplicates, no blank text, none longer than the model takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from millrace.tasks.embedding.rerank.models import RerankSpec
from millrace.tasks.errors import ConfigurationError

Count = Callable[[str], int]

_NAMED = 5


@dataclass(frozen=True, slots=True)
class RerankInputs:
    """`texts` are the distinct texts to send; `documents[i]` are the indices of the documents that are `texts[i]`.

    `loads[i]` is what `texts[i]` adds to the tokens of a request, with the query's share; all 0 without a limit.
    `blank` are the indices of documents without text.
    """

    query: str
    texts: tuple[str, ...]
    documents: tuple[tuple[int, ...], ...]
    loads: tuple[int, ...]
    blank: tuple[int, ...]
    notices: tuple[str, ...]


def bytes_bound(text: str) -> int:
    """The UTF-8 bytes of `text`, of which there are never fewer than tokens.

    >>> bytes_bound("码 mill")
    8
    """
    return len(text.encode())


def prepare_inputs(
    query: str, documents: Sequence[str], spec: RerankSpec, *, instruct: str = "", count: Count | None = None
) -> RerankInputs:
    """The texts to send, cut to what the model of `spec` takes, with a notice for everything that is not sent.

    Any two of the texts fit into one request. Raises ConfigurationError for a blank query, or an instruction that
    leaves no room for documents.
    """
    if not query.strip():
        message = "the query is blank; there is nothing to rank the documents by"
        raise ConfigurationError(message)
    counted, unit = (count, "tokens") if count else (bytes_bound, "bytes")
    query, notices = _fit_query(query, spec, counted, unit)
    share = counted(query) + counted(instruct) if spec.tokens_per_request else 0
    limit = _document_limit(spec, share)
    places: dict[str, list[int]] = {}
    blank: list[str] = []
    shortened: list[str] = []
    without_text: list[int] = []
    for index, document in enumerate(documents):
        if not document.strip():
            blank.append(f"documents[{index}]")
            without_text.append(index)
            continue
        text = document
        if limit and (size := counted(document)) > limit:
            text = cut(document, limit, counted)
            shortened.append(f"documents[{index}] by {len(document) - len(text):,} characters ({size:,} {unit})")
        places.setdefault(text, []).append(index)
    if shortened:
        notices.append(f"{spec.name} takes {limit:,} tokens of a document; cut: {_listed(shortened)}")
    if blank:
        notices.append(f"blank, so not sent, and ranked last: {_listed(blank)}")
    return RerankInputs(
        query=query,
        texts=tuple(places),
        documents=tuple(map(tuple, places.values())),
        loads=tuple(share + counted(text) if spec.tokens_per_request else 0 for text in places),
        blank=tuple(without_text),
        notices=tuple(notices),
    )


def cut(text: str, limit: int, count: Count) -> str:
    """The longest start of `text` with at most `limit` tokens by `count`, cut between characters.

    >>> cut("衣服的质量", 8, bytes_bound)
    '衣服'
    """
    fits, beyond = 0, len(text) + 1
    while beyond - fits > 1:
        middle = (fits + beyond) // 2
        if count(text[:middle]) <= limit:
            fits = middle
        else:
            beyond = middle
    return text[:fits]


def _fit_query(query: str, spec: RerankSpec, counted: Count, unit: str) -> tuple[str, list[str]]:
    # At most a quarter of a request; a document gets half less that, so that any two documents fit into one request.
    limit = _least(spec.tokens_per_text, spec.tokens_per_request // 4)
    if not limit or (size := counted(query)) <= limit:
        return query, []
    start = cut(query, limit, counted)
    missing = len(query) - len(start)
    return start, [f"{spec.name} takes {limit:,} tokens of a query; cut by {missing:,} characters ({size:,} {unit})"]


def _document_limit(spec: RerankSpec, share: int) -> int:
    if not spec.tokens_per_request:
        return spec.tokens_per_text
    capacity = spec.tokens_per_request // 2 - share
    if capacity < 1:
        message = f"rerank.instruct is too long: a request of {spec.name} has {spec.tokens_per_request:,} tokens in all"
        raise ConfigurationError(message)
    return _least(spec.tokens_per_text, capacity)


def _least(*limits: int) -> int:
    return min((limit for limit in limits if limit), default=0)


def _listed(named: Sequence[str]) -> str:
    more = len(named) - _NAMED
    return ", ".join(named[:_NAMED]) + (f" and {more} more" if more > 0 else "")
