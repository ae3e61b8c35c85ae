"""Searching by meaning and by words at once, the two rankings fused by reciprocal ranks.

Milvus can fuse them itself, with the same scores, but orders equal ones as it likes: a row that is first by its words
and unknown to the dense ranking has the very score of the one that is first by meaning alone. That is how a rare token
is found, so here the better by words comes first. And rows that hold a code of the query whole come before all others
(see `codes`).

Codes in a query: part numbers, error numbers, versions. They are taken at their word. Pure.

Neither ranking of a hybrid search can be trusted with them. Vectors hardly know one code from another, and by words
a row shares most of a code's parts with the rows of its neighbours (SKU-88161-QX, SKU-88168-QX), all the more where a
model's tokenizer takes numbers apart digit by digit.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from millrace.tasks.errors import ConfigurationError
from millrace.tasks.milvus.client.connection import Connection
from millrace.tasks.milvus.collection_spec import ID_FIELD, SPARSE_FIELD, VECTOR_FIELD, CollectionShape
from millrace.tasks.milvus.reader import fetch_rows, filter_errors, query_vector, search_params
from millrace.tasks.milvus.rows import Hit, Vectors
from millrace.tasks.records import SPARSE_PAIR

_RUN = re.compile(r"[A-Za-z0-9]+(?:[-_./:#][A-Za-z0-9]+)*")
_LEAST_LENGTH = 4
_LEAST_DIGITS = 5  # of a number alone: four are a year, or an amount


def codes_in(query: str) -> frozenset[str]:
    """The codes that `query` names, as `shares_of_codes` looks for them.

    >>> sorted(codes_in("What does E4711 mean on SKU-88161-QX since 2024?"))
    ['e4711', 'sku-88161-qx']
    >>> codes_in("v4 of 1987, and-or")
    frozenset()
    """
    return frozenset(run for run in _RUN.findall(_plain(query)) if _is_code(run))


def shares_of_codes(codes: frozenset[str], contents: Mapping[str, str]) -> dict[str, float]:
    """For each id of `contents` (id -> text) that holds some of `codes` whole, the share of them that it holds.

    >>> shares_of_codes(frozenset({"e4711"}), {"a": "Fault E4711: clogged", "b": "Fault E47112", "c": "报警E4711消失"})
    {'a': 1.0, 'c': 1.0}
    """
    shares = {row_id: _held(codes, _plain(text)) / len(codes) for row_id, text in contents.items()} if codes else {}
    return {row_id: share for row_id, share in shares.items() if share}


def _held(codes: Iterable[str], text: str) -> int:
    return sum(re.search(rf"(?<![a-z0-9]){re.escape(code)}(?![a-z0-9])", text) is not None for code in codes)


def _is_code(run: str) -> bool:
    digits = sum(character.isdigit() for character in run)
    return digits >= _LEAST_DIGITS if run.isdigit() else bool(digits) and len(run) >= _LEAST_LENGTH


def _plain(text: str) -> str:
    """Full-width letters and digits as the usual ones, in one case."""
    return unicodedata.normalize("NFKC", text).lower()


RANKED_ROWS = 100
"""Rows that each ranking brings at least: with fewer, a row that is 30th by meaning and first by its words would lose
what meaning says for it."""

LEAST_SHARE_OF_BEST = 0.25
"""What shares fewer of the query's words, by their weight, than this part of what the best row shares is not ranked by
words. Else a question for a rare token, "what is E4711", ranks whatever also has "what" and "is", and those of them
that are near by meaning then have two ranks and pass the one row that has the token."""

Words = str | dict[int, float]


def words_of(shape: CollectionShape, sparse: bytes | None, text: str) -> Words:
    """What the query's words are to a collection of this shape; empty if it has none.

    Raises:
        ConfigurationError: the shape knows no words.
        ValueError: what the shape needs was not given.
    """
    if shape.hybrid == "none":
        message = "milvus.hybrid = none: this collection has no words to search; make it with milvus.hybrid = bm25"
        raise ConfigurationError(message)
    if shape.hybrid == "bm25":
        return text.strip()
    if sparse is None:
        message = "a hybrid search of this collection needs the query's sparse vector"
        raise ValueError(message)
    return dict(np.frombuffer(sparse, SPARSE_PAIR).tolist())


def search_rows(
    connection: Connection,
    name: str,
    shape: CollectionShape,
    vector: Vectors,
    words: Words,
    *,
    text: str,
    top_k: int,
    condition: str,
    rrf_k: int,
) -> list[Hit]:
    """At most `top_k` rows for which `condition` holds, by both rankings fused; of equals the better by words first.

    `text` is the query as it was asked: rows that hold its codes whole gain as much as rows that are first in both.

    Raises:
        ConfigurationError: Milvus cannot make sense of `condition`.
        CollectionError: Milvus cannot be reached, or refuses.
        ValueError: `vector` cannot be searched with.
    """
    rows = max(top_k, RANKED_ROWS)
    dense = {
        "data": [query_vector(vector, shape)],
        "anns_field": VECTOR_FIELD,
        "search_params": search_params(shape, rows),
    }
    metric = "BM25" if shape.hybrid == "bm25" else "IP"
    by_words = {"data": [words], "anns_field": SPARSE_FIELD, "search_params": {"metric_type": metric, "params": {}}}
    client, timeout_s = connection.client, connection.timeout_s

    def ranking(route: Mapping[str, Any]) -> list[dict[str, Any]]:
        with filter_errors(condition):
            answers = connection.call(
                "searching",
                lambda: client.search(
                    name,
                    **route,
                    filter=condition,
                    limit=rows,
                    output_fields=[ID_FIELD],
                    consistency_level="Strong",
                    timeout=timeout_s,
                ),
            )
        return list(answers[0])

    by_words_ids = _sharing_enough(ranking(by_words)) if words else []
    scores = fused([by_words_ids, [hit[ID_FIELD] for hit in ranking(dense)]], rrf_k)
    if scores and (codes := codes_in(text)):
        ranked = {row.id: row.content for row in fetch_rows(connection, name, shape, list(scores), with_vectors=False)}
        for row_id, share in shares_of_codes(codes, ranked).items():
            scores[row_id] += 2 * share / (rrf_k + 1)
    best = sorted(scores, key=lambda row_id: -scores[row_id])[:top_k]
    stored = fetch_rows(connection, name, shape, best, with_vectors=False) if best else []
    return [Hit(row.id, scores[row.id], row.content, row.metadata or {}) for row in stored]


def _sharing_enough(hits: Sequence[Mapping[str, Any]]) -> list[str]:
    weights = [abs(hit["distance"]) for hit in hits]  # Milvus Lite gives BM25's with the sign turned
    return [
        hit[ID_FIELD] for hit, weight in zip(hits, weights, strict=True) if weight >= LEAST_SHARE_OF_BEST * weights[0]
    ]


def fused(rankings: Sequence[Sequence[str]], rrf_k: int) -> dict[str, float]:
    """What reciprocal rank fusion gives each id of `rankings`, in the order in which they first have it.

    >>> fused([["a", "b"], ["b"]], 60) == {"a": 1 / 61, "b": 1 / 62 + 1 / 61}
    True
    """
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, row_id in enumerate(ranking, start=1):
            scores[row_id] = scores.get(row_id, 0.0) + 1 / (rrf_k + rank)
    return scores
