"""What is sent of a query and its documents: no text twice, none that is blank, none longer than the model reads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from millrace.tasks.embedding.rerank.models import RerankSpec
from millrace.tasks.errors import ConfigurationError

Count = Callable[[str], int]

_NAMED = 5


@dataclass(frozen=True, slots=True)
class RerankInputs:
    """`texts` are the distinct texts to send; `documents[i]` are the indices of the documents that are `texts[i]`.

    `loads[i]` is what `texts[i]` takes of a request's tokens, with the query's share; all 0 where there is no limit.
    `blank` are the indices of documents without a text.
    """

    query: str
    texts: tuple[str, ...]
    documents: tuple[tuple[int, ...], ...]
    loads: tuple[int, ...]
    blank: tuple[int, ...]
    notices: tuple[str, ...]


def bytes_bound(text: str) -> int:
    """The UTF-8 bytes of `text`: tokens are made of bytes, so there are never more of them.

    >>> bytes_bound("码 mill")
    8
    """
    return len(text.encode())


def fit(
    query: str, documents: Sequence[str], spec: RerankSpec, *, instruct: str = "", count: Count | None = None
) -> RerankInputs:
    """What of `query` and `documents` the model of `spec` reads, with a notice for everything that it does not.

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
        if limit and (told := counted(document)) > limit:
            text = cut(document, limit, counted)
            shortened.append(f"documents[{index}] by {len(document) - len(text):,} characters ({told:,} {unit})")
        places.setdefault(text, []).append(index)
    if shortened:
        notices.append(f"{spec.name} reads {limit:,} tokens of a document; cut: {_listed(shortened)}")
    if blank:
        notices.append(f"blank, so not sent and put last: {_listed(blank)}")
    return RerankInputs(
        query=query,
        texts=tuple(places),
        documents=tuple(map(tuple, places.values())),
        loads=tuple(share + counted(text) if spec.tokens_per_request else 0 for text in places),
        blank=tuple(without_text),
        notices=tuple(notices),
    )


def cut(text: str, limit: int, count: Count) -> str:
    """A longest start of `text` that `count` finds to have at most `limit` tokens, cut between characters.

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
    # A quarter of a request at most, and a document half of it less that, so that any two documents can be compared.
    limit = _least(spec.tokens_per_text, spec.tokens_per_request // 4)
    if not limit or (told := counted(query)) <= limit:
        return query, []
    kept = cut(query, limit, counted)
    lost = len(query) - len(kept)
    words = f"{spec.name} reads {limit:,} tokens of a query; cut by {lost:,} characters ({told:,} {unit})"
    return kept, [words]


def _document_limit(spec: RerankSpec, share: int) -> int:
    if not spec.tokens_per_request:
        return spec.tokens_per_text
    room = spec.tokens_per_request // 2 - share
    if room < 1:
        message = f"rerank.instruct is too long: a request of {spec.name} has {spec.tokens_per_request:,} tokens in all"
        raise ConfigurationError(message)
    return _least(spec.tokens_per_text, room)


def _least(*limits: int) -> int:
    return min((limit for limit in limits if limit), default=0)


def _listed(named: Sequence[str]) -> str:
    more = len(named) - _NAMED
    return ", ".join(named[:_NAMED]) + (f" and {more} more" if more > 0 else "")
