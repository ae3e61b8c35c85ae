"""The vectors that the simulated model returns: a pure function of model, dimension and text.

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


def expected_vector(model: str, dimensions: int, text: str) -> NDArray[np.float32]:
    """The model's vector for `text`: float32, shape (dimensions,), of norm 1 within float32.

    The NFC form of the text counts, as the real tokenizer normalises it. The seed is the SHA-256 of model,
    dimension and text, so two texts have almost orthogonal vectors, and the same text always the same.
    """
    normal = unicodedata.normalize("NFC", text)
    seed = hashlib.sha256(f"{model}\0{dimensions}\0{normal}".encode()).digest()
    drawn = np.random.default_rng(int.from_bytes(seed)).standard_normal(dimensions, dtype=np.float32)
    wide = drawn.astype(np.float64)
    unit: NDArray[np.float32] = (wide / np.sqrt(wide @ wide)).astype(np.float32)
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
        self._by_text: OrderedDict[tuple[str, int, str], bytes] = OrderedDict()

    def json_array(self, model: str, dimensions: int, text: str) -> bytes:
        """`rendered(expected_vector(...))`, remembered for the last `kept` texts."""
        key = (model, dimensions, text)
        found = self._by_text.get(key)
        if found is not None:
            self._by_text.move_to_end(key)
            return found
        made = rendered(expected_vector(model, dimensions, text))
        self._by_text[key] = made
        if len(self._by_text) > self._kept:
            self._by_text.popitem(last=False)
        return made
