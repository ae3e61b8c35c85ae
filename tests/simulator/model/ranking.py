"""The scores that the simulated rerankers give: a pure function of query, document and instruction.

A test that wants to know whether scores were put to the right documents calls `expected_scores`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tests.simulator.model.lexical import terms, weight
from tests.simulator.model.tokens import bpe_tokens, truncated

TOKENS_PER_TEXT = 4000
"""What a reranker reads of a query and of each document; the rest it passes over without a word."""

# Okapi BM25 with its usual constants, over documents of an assumed length.
_SATURATION, _LENGTH_SHARE, _USUAL_TERMS = 1.2, 0.75, 150.0
_INSTRUCTED = 0.05


def expected_scores(
    query: str, documents: Sequence[str], instruct: str = "", tokens_per_text: int = TOKENS_PER_TEXT
) -> list[float]:
    """The relevance of each document, in 0..1: how much of the query's weight it holds, and how densely.

    An instruction changes each score by up to a twentieth of it.
    """
    asked = {term: weight(term) for term in terms(read_of(query, tokens_per_text))}
    return [_score(asked, read_of(document, tokens_per_text), instruct) for document in documents]


def read_of(text: str, tokens_per_text: int) -> str:
    """The beginning of `text` that a reranker reads."""
    return text if bpe_tokens(text) <= tokens_per_text else truncated(text, tokens_per_text)


def _score(asked: dict[str, float], document: str, instruct: str) -> float:
    held = terms(document)
    length = 1 - _LENGTH_SHARE + _LENGTH_SHARE * held.total() / _USUAL_TERMS
    found = sum(share * held[term] / (held[term] + _SATURATION * length) for term, share in asked.items())
    score = found / (sum(asked.values()) or 1.0)
    if instruct:
        drawn = int.from_bytes(hashlib.sha256(f"{instruct}\0{document}".encode()).digest()[:4]) / 2**32
        score *= 1 - _INSTRUCTED * drawn
    return score
