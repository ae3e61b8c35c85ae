"""Provider `local`: a lexical embedding without network, key or cost.

A text becomes the weights of its words, of the character n-grams inside them, and of its Chinese, Japanese and Korean
characters and pairs of characters; scikit-learn's hashing trick folds these into 1,024 numbers. Texts that share words
are near each other, and "limits" meets "limit"; meaning plays no part. The same text gives the same vector on every
machine: the weights below are part of the model's name, so a change to any of them is a new name in the catalogue.
"""

import asyncio
import math
import unicodedata
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import regex  # type: ignore[import-untyped]

from millrace.tasks.embedding.providers.client import EmbeddingResponse, Vectors
from millrace.tasks.errors import TextsRefused
from millrace.tasks.records import sparse_bytes

Feature = tuple[str, float]

_HAN = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}ー"
# A run of CJK characters, or a word of any other script with its combining marks.
_RUNS = regex.compile(rf"[{_HAN}]+|(?:(?![{_HAN}])[\p{{L}}\p{{N}}\p{{M}}_])+")
_CJK = regex.compile(rf"[{_HAN}]")
_FIRST_CJK = "\u1100"  # nothing in _HAN comes before it

_REMEMBERED = 20_000
"""Words whose features are kept, about 1 kB each; the rest of a language comes by rarely."""

_WORD = 1.0
_FUNCTION_WORD = 0.1
_GRAM_SHARE = 0.5  # of a word's weight, spread over its grams
_GRAM = 4
_CJK_PAIR = 1.0
_CJK_ONE = 0.35
_FUNCTION_CJK = 0.15  # of its weight

# Written out rather than taken from a library, whose list may change under us.
_FUNCTION_WORDS = frozenset(
    word
    for words in (
        "a about after all also an and any are as at be because been before being between both but by can could did",
        "do does done down each for from had has have he her here him his how i if in into is it its just may me",
        "might more most must my no nor not of off on once only or other our out over own same shall she should so",
        "some such than that the their them then there these they this those through to too under until up upon very",
        "was we were what when where which while who whom whose why will with within without would you your",
    )
    for word in words.split()
)
_FUNCTION_CHARACTERS = frozenset(
    "的了是在和有与及或而也都就不这那为以于之其被把从到对等个们么吗呢吧啊要会可能"  # Chinese
    "はがをのでともへに"  # Japanese
)


class LocalClient:
    """The lexical embedding behind the interface of a provider; one thread computes, so the event loop stays free."""

    def __init__(self, *, dimensions: int, sparse: bool = False) -> None:
        """With `sparse` the features themselves come too, before they are folded."""
        self._dimensions = dimensions
        self._sparse = sparse
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="local-embedding")

    async def embed(self, texts: Sequence[str]) -> EmbeddingResponse:
        """The vectors of `texts`, computed here. Raises TextsRefused if one of them is blank."""
        if any(not text.strip() for text in texts):
            raise TextsRefused(
                "a text holds nothing but white space", reason="text_empty", remedy="leave it out; it says nothing"
            )
        loop = asyncio.get_running_loop()
        vectors = await loop.run_in_executor(self._thread, lexical_vectors, list(texts), self._dimensions)
        sparse = await loop.run_in_executor(self._thread, sparse_vectors, list(texts)) if self._sparse else None
        return EmbeddingResponse(vectors, billed_tokens=0, request_id="", sparse=sparse)

    async def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def lexical_vectors(texts: Sequence[str], dimensions: int) -> Vectors:
    """Vectors of length 1: float32, shape (n_texts, dimensions), row i belongs to texts[i].

    No row is zero for a text that is not blank, be it all punctuation.
    """
    from sklearn.feature_extraction import FeatureHasher

    hasher = FeatureHasher(n_features=dimensions, input_type="pair", dtype=np.float32)
    vectors: Vectors = hasher.transform([features(text) for text in texts]).toarray()
    norms = np.linalg.norm(vectors, axis=1)
    for row in np.flatnonzero(norms == 0.0).tolist():
        # Two features of opposite sign in one place can cancel; a single one cannot.
        vectors[row] = hasher.transform([[(f"t:{texts[row]}", 1.0)]]).toarray()
        norms[row] = 1.0
    vectors /= norms[:, np.newaxis]
    return vectors


def sparse_vectors(texts: Sequence[str]) -> tuple[bytes, ...]:
    """Each text's features as a sparse vector of length 1: index a hash of the feature, value its weight.

    Over 32 bits next to no two features meet, so a token that only one passage has finds that passage.
    """
    return tuple(_sparse(features(text)) for text in texts)


def _sparse(found: list[Feature]) -> bytes:
    weights = np.array([weight for _, weight in found])
    # Milvus keeps the highest index for itself.
    indices = [zlib.crc32(name.encode()) % 0xFFFF_FFFF for name, _ in found]
    return sparse_bytes(indices, (weights / np.linalg.norm(weights)).tolist())


def features(text: str) -> list[Feature]:
    """The features of `text` with their weights; how often a feature occurs counts by its logarithm.

    >>> [name for name, _ in features("Größe 流量")]
    ['w:größe', 'c:流', 'c:量', 'p:流量', 'g:<größ', 'g:größe', 'g:röße>']
    """
    words: Counter[str] = Counter()
    ones: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    for run in _RUNS.findall(unicodedata.normalize("NFKC", text).lower()):
        if run[0] >= _FIRST_CJK and _CJK.match(run):
            ones.update(run)
            pairs.update([run[at : at + 2] for at in range(len(run) - 1)])
        else:
            words[run] += 1
    if not words and not ones:
        marks = Counter(character for character in text if not character.isspace())
        return [(f"m:{mark}", _damped(many)) for mark, many in marks.items()]
    grams: dict[str, float] = {}
    found: list[Feature] = []
    for word, many in words.items():
        name, weight, inner = _word(word)
        damped = 1.0 if many == 1 else _damped(many)
        found.append((name, weight * damped))
        for gram, share in inner:
            grams[gram] = grams.get(gram, 0.0) + share * damped
    for counts in (ones, pairs):
        for characters, many in counts.items():
            name, weight = _cjk(characters)
            found.append((name, weight if many == 1 else weight * _damped(many)))
    found += grams.items()
    return found


@lru_cache(maxsize=_REMEMBERED)
def _word(word: str) -> tuple[str, float, tuple[Feature, ...]]:
    """The feature of a word, its weight, and the features inside it."""
    if word in _FUNCTION_WORDS:
        return f"w:{word}", _FUNCTION_WORD, ()
    if len(word) < _GRAM:
        return f"w:{word}", _WORD, ()
    marked = f"<{word[:40]}>"
    grams = [marked[at : at + _GRAM + 1] for at in range(len(marked) - _GRAM)]
    # Shared out by the root, so that a long word does not outweigh its neighbours by its grams.
    share = _WORD * _GRAM_SHARE / math.sqrt(len(grams))
    return f"w:{word}", _WORD, tuple((f"g:{gram}", share) for gram in grams)


@lru_cache(maxsize=_REMEMBERED)
def _cjk(characters: str) -> Feature:
    """The feature of one character or of a pair."""
    name, weight = ("c:", _CJK_ONE) if len(characters) == 1 else ("p:", _CJK_PAIR)
    functional = any(character in _FUNCTION_CHARACTERS for character in characters)
    return name + characters, weight * _FUNCTION_CJK if functional else weight


def _damped(count: int) -> float:
    return 1.0 + math.log(count)
