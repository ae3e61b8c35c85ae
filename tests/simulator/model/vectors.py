"""The vectors that the simulated models return: a pure function of model, dimension, text and what it is embedded as.

A test that wants to know whether a row carries the vector of its own content calls `expected_vector` and compares.
"""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections import OrderedDict

import numpy as np
import orjson
from numpy.typing import NDArray

# How far text_type and instruct move a vector: two of one text, moved differently, have a cosine of 0.8.
_MOVED = 0.5


def expected_vector(
    model: str, dimensions: int, text: str, text_type: str = "", instruct: str = ""
) -> NDArray[np.float32]:
    """The model's vector for `text`: float32, shape (dimensions,), of norm 1 within float32.

    The NFC form of the text counts, as the real tokenizer normalises it. The seed is the SHA-256 of model,
    dimension and text, so two texts have almost orthogonal vectors, and the same text always the same.

    `text_type`: "" is the compatible endpoint's; the native one's "document" and "query" move the vector, each another
    way, and so does every `instruct`. Near enough for a search to find its text, and never the same.
    """
    normal = unicodedata.normalize("NFC", text)
    key = f"{model}\0{dimensions}\0{normal}"
    wide = _direction(key, dimensions)
    if text_type or instruct:
        wide = wide + _MOVED * _direction(f"{key}\0{text_type}\0{instruct}", dimensions)
        wide /= np.sqrt(wide @ wide)
    return wide.astype(np.float32)


def _direction(key: str, dimensions: int) -> NDArray[np.float64]:
    """The unit vector of `key`."""
    seed = hashlib.sha256(key.encode()).digest()
    drawn = np.random.default_rng(int.from_bytes(seed)).standard_normal(dimensions, dtype=np.float32)
    wide = drawn.astype(np.float64)
    unit: NDArray[np.float64] = wide / np.sqrt(wide @ wide)
    return unit


def rendered(vector: NDArray[np.float32]) -> bytes:
    """`vector` as a JSON array of float32 values printed as doubles (about 22 bytes each), as the provider prints them."""
    return orjson.dumps(vector.astype(np.float64), option=orjson.OPT_SERIALIZE_NUMPY)


def rendered_base64(vector: NDArray[np.float32]) -> bytes:
    """`vector` as a JSON string: base64 of its little-endian float32."""
    return b'"' + base64.b64encode(vector.astype("<f4").tobytes()) + b'"'


class Renderings:
    """The last rendered vectors, by text: a re-sent text costs a look-up."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._by_text: OrderedDict[tuple[str, int, str, str, str], bytes] = OrderedDict()

    def json_array(self, model: str, dimensions: int, text: str, text_type: str = "", instruct: str = "") -> bytes:
        """`rendered(expected_vector(...))`, remembered for the last `kept` texts."""
        key = (model, dimensions, text, text_type, instruct)
        found = self._by_text.get(key)
        if found is not None:
            self._by_text.move_to_end(key)
            return found
        made = rendered(expected_vector(*key))
        self._by_text[key] = made
        if len(self._by_text) > self._kept:
            self._by_text.popitem(last=False)
        return made
