"""How the simulated models read a text where words count: its terms, and how much each says.

Sparse vectors and rerank scores are made of these, so a text is near the query whose rare words it holds. Knows
neither: an order of words, a meaning.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import unicodedata
from collections import Counter

from tests.simulator.model.tokens import qwen_encoding

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_PIECES = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}]+(?:[-_./:#][^\W_{_HAN}]+)*")
_WORDS = re.compile(r"[^\W_]+")

_RANKS = 151_643
_LEAST_SHARE = 0.08
_DIGIT_SHARE = 0.3


def terms(text: str) -> Counter[str]:
    """What the text says and how often: words in lower case; Chinese in characters and pairs of them.

    A compound such as an order number counts whole, and each part of it too.

    >>> sorted(terms("Error E-4711: 退款"))
    ['4711', 'e', 'e-4711', 'error', '款', '退', '退款']
    """
    found: Counter[str] = Counter()
    for piece in _PIECES.findall(unicodedata.normalize("NFC", text).lower()):
        if re.match(rf"[{_HAN}]", piece):
            found.update(piece)
            found.update(first + second for first, second in itertools.pairwise(piece))
        else:
            words = _WORDS.findall(piece)
            found.update(words)
            if len(words) > 1:
                found[piece] += 1
    return found


@functools.lru_cache(maxsize=200_000)
def weight(term: str) -> float:
    """How much a term says, in (0, 1]: rare words and long ones most, by their ranks in Qwen's vocabulary.

    >>> weight("the") < weight("refund") < weight("kubernetes-7f3a")
    True
    """
    says_nothing = 1.0
    encoding = qwen_encoding()
    for token in encoding.encode_ordinary(f" {term}" if term.isascii() else term):
        share = (math.log(2 + token) / math.log(2 + _RANKS)) ** 5
        # Digits are single tokens of low rank, and yet a number is as rare as it is long.
        least = _DIGIT_SHARE if encoding.decode([token]).isdigit() else _LEAST_SHARE
        says_nothing *= 1 - max(share, least)
    return max(1 - says_nothing, _LEAST_SHARE)
