"""Provider `local`: its client, and a lexical embedding without network, key or cost.

The features of a text are its words, the character n-grams inside them, and its Chinese, Japanese and Korean characters
and pairs of characters; the hashing trick folds their weights into 1,024 numbers. Texts that share words are near each
other, and so are "limits" and "limit"; meaning plays no part. The same text gives the same vector on every machine: the
weights below belong to the models' names, so changing any of them needs new names in `models.toml`.

`lexical-hashing-v2` hashes what is in a word once and adds up arrays. `lexical-hashing-v1` has other bits, by
scikit-learn, whose import alone takes a second or two; lakes of it go on with it, and half of `semantic-v1` is made so.
"""

import asyncio
import hashlib
import math
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import chain

import numpy as np
import numpy.typing as npt
import regex  # type: ignore[import-untyped]

from millrace.tasks.embedding.providers.client import EmbeddingResponse, Vectors
from millrace.tasks.errors import TextsRefused
from millrace.tasks.records import sparse_bytes

Feature = tuple[str, float]

_HAN = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}ー"
# A run of CJK characters, or a word of any other script with its combining marks.
_RUNS = regex.compile(rf"[{_HAN}]+|[[\p{{L}}\p{{N}}\p{{M}}_]--[{_HAN}]]+", regex.V1)
_ASCII_RUNS = re.compile(r"[a-z0-9_]+")  # the same of lower-case ASCII, in half the time
_CJK = regex.compile(rf"[{_HAN}]")
_FIRST_CJK = "\u1100"  # nothing in _HAN comes before it

_CACHED_WORDS = 20_000
"""Words whose features are cached, about 1 kB each; the rest of a language is rare."""

Places = tuple[bytes, bytes]
"""Where features go, as hashes that are still to be taken modulo the dimensions (int64), and their signed weights
(float64). Bytes, since many small ones are joined ten times as fast as arrays.
"""

_WORD = 1.0
_FUNCTION_WORD = 0.1
_GRAM_SHARE = 0.5  # of a word's weight, spread over its grams
_GRAM = 4
_CJK_PAIR = 1.0
_CJK_ONE = 0.35
_FUNCTION_CJK = 0.15  # of its weight

# Written out, because the list of a library may change.
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
    """A model that runs here as an `EmbeddingClient`; computed in a thread, so that the event loop stays free."""

    def __init__(self, vectors: Callable[[Sequence[str], int], Vectors], *, dimensions: int, sparse: bool) -> None:
        """`vectors` are those of texts, as `lexical_vectors`; with `sparse` answers have `sparse_vectors` too."""
        self._vectors = vectors
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
        vectors = await loop.run_in_executor(self._thread, self._vectors, list(texts), self._dimensions)
        sparse = await loop.run_in_executor(self._thread, sparse_vectors, list(texts)) if self._sparse else None
        return EmbeddingResponse(vectors, billed_tokens=0, request_id="", sparse=sparse)

    async def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def lexical_vectors(texts: Sequence[str], dimensions: int) -> Vectors:
    """Vectors of `lexical-hashing-v2` of length 1: float32, shape (n_texts, dimensions), row i belongs to texts[i].

    No row is zero unless its text is blank; text of punctuation alone has a vector too.
    """
    return np.stack([_lexical_vector(text, dimensions) for text in texts])


def _lexical_vector(text: str, dimensions: int) -> npt.NDArray[np.float32]:
    summed = _summed(_places(text), dimensions)
    # Added one after the other: in whatever order a machine likes best, the last bits would be its own.
    length = math.sqrt(np.cumsum(summed * summed)[-1])
    if length == 0.0:
        # Two features of opposite sign at one index can cancel out; a single one cannot.
        return _summed([_hashed([(f"t:{text}", 1.0)], 1)], dimensions).astype(np.float32)
    return (summed / length).astype(np.float32)


def _summed(places: Sequence[Places], dimensions: int) -> npt.NDArray[np.float64]:
    hashes = np.frombuffer(b"".join([hashes for hashes, _ in places]), np.int64)
    weights = np.frombuffer(b"".join([weights for _, weights in places]), np.float64)
    return np.bincount(hashes % dimensions, weights, dimensions).astype(np.float64, copy=False)


def _places(text: str) -> list[Places]:
    """Where the features of each different word, character and pair of `text` go."""
    words, ones, pairs = _counted(text)
    if not words and not ones:
        return [_hashed([(f"m:{mark}", 1.0)], count) for mark, count in _marks(text).items()]
    places = [_places_of_word(word, count) for word, count in words.items()]
    places += [_places_of_cjk(characters, count) for characters, count in chain(ones.items(), pairs.items())]
    return places


@lru_cache(maxsize=_CACHED_WORDS)
def _places_of_word(word: str, count: int) -> Places:
    name, weight, inner = _word(word)
    return _hashed([(name, weight), *inner], count)


@lru_cache(maxsize=_CACHED_WORDS)
def _places_of_cjk(characters: str, count: int) -> Places:
    return _hashed([_cjk(characters)], count)


def _hashed(found: Sequence[Feature], count: int) -> Places:
    digests = b"".join([hashlib.blake2b(name.encode(), digest_size=8).digest() for name, _ in found])
    hashes = np.frombuffer(digests, "<i8")
    weights = np.array([weight for _, weight in found]) * _damped(count)
    return (hashes & np.int64(2**63 - 1)).tobytes(), np.where(hashes < 0, -weights, weights).tobytes()


def first_lexical_vectors(texts: Sequence[str], dimensions: int) -> Vectors:
    """Vectors of `lexical-hashing-v1` of length 1: float32, shape (n_texts, dimensions), row i belongs to texts[i].

    No row is zero unless its text is blank; text of punctuation alone has a vector too.
    """
    from sklearn.feature_extraction import FeatureHasher

    hasher = FeatureHasher(n_features=dimensions, input_type="pair", dtype=np.float32)
    vectors: Vectors = hasher.transform([features(text) for text in texts]).toarray()
    norms = np.linalg.norm(vectors, axis=1)
    for row in np.flatnonzero(norms == 0.0).tolist():
        # Two features of opposite sign at one index can cancel out; a single one cannot.
        vectors[row] = hasher.transform([[(f"t:{texts[row]}", 1.0)]]).toarray()
        norms[row] = 1.0
    vectors /= norms[:, np.newaxis]
    return vectors


def sparse_vectors(texts: Sequence[str]) -> tuple[bytes, ...]:
    """Each text's features as a sparse vector of length 1: index a hash of the feature, value its weight.

    In 32 bits features hardly ever collide, so a token that only one passage has finds that passage.
    """
    return tuple(_sparse(features(text)) for text in texts)


def _sparse(found: list[Feature]) -> bytes:
    weights = np.array([weight for _, weight in found])
    # Milvus reserves the highest index.
    indices = [zlib.crc32(name.encode()) % 0xFFFF_FFFF for name, _ in found]
    return sparse_bytes(indices, (weights / np.linalg.norm(weights)).tolist())


def features(text: str) -> list[Feature]:
    """The features of `text` with their weights, which grow with the logarithm of their frequency.

    >>> [name for name, _ in features("Größe 流量")]
    ['w:größe', 'c:流', 'c:量', 'p:流量', 'g:<größ', 'g:größe', 'g:röße>']
    """
    words, ones, pairs = _counted(text)
    if not words and not ones:
        return [(f"m:{mark}", _damped(count)) for mark, count in _marks(text).items()]
    grams: dict[str, float] = {}
    found: list[Feature] = []
    for word, count in words.items():
        name, weight, inner = _word(word)
        damped = 1.0 if count == 1 else _damped(count)
        found.append((name, weight * damped))
        for gram, share in inner:
            grams[gram] = grams.get(gram, 0.0) + share * damped
    for counts in (ones, pairs):
        for characters, count in counts.items():
            name, weight = _cjk(characters)
            found.append((name, weight if count == 1 else weight * _damped(count)))
    found += grams.items()
    return found


def _counted(text: str) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """How often each word, each CJK character and each pair of them is in `text`."""
    words: Counter[str] = Counter()
    ones: Counter[str] = Counter()
    pairs: Counter[str] = Counter()
    folded = unicodedata.normalize("NFKC", text).lower()
    if folded.isascii():
        return Counter(_ASCII_RUNS.findall(folded)), ones, pairs
    for run in _RUNS.findall(folded):
        if run[0] >= _FIRST_CJK and _CJK.match(run):
            ones.update(run)
            pairs.update([run[at : at + 2] for at in range(len(run) - 1)])
        else:
            words[run] += 1
    return words, ones, pairs


def _marks(text: str) -> Counter[str]:
    return Counter(character for character in text if not character.isspace())


@lru_cache(maxsize=_CACHED_WORDS)
def _word(word: str) -> tuple[str, float, tuple[Feature, ...]]:
    """The feature of a word, its weight, and the features inside it."""
    if word in _FUNCTION_WORDS:
        return f"w:{word}", _FUNCTION_WORD, ()
    if len(word) < _GRAM:
        return f"w:{word}", _WORD, ()
    marked = f"<{word[:40]}>"
    grams = [marked[at : at + _GRAM + 1] for at in range(len(marked) - _GRAM)]
    # Divided by the root, so that the grams of a long word do not outweigh its neighbours.
    share = _WORD * _GRAM_SHARE / math.sqrt(len(grams))
    return f"w:{word}", _WORD, tuple((f"g:{gram}", share) for gram in grams)


@lru_cache(maxsize=_CACHED_WORDS)
def _cjk(characters: str) -> Feature:
    """The feature of one character or of a pair."""
    name, weight = ("c:", _CJK_ONE) if len(characters) == 1 else ("p:", _CJK_PAIR)
    functional = any(character in _FUNCTION_CHARACTERS for character in characters)
    return name + characters, weight * _FUNCTION_CJK if functional else weight


def _damped(count: int) -> float:
    return 1.0 + math.log(count)
