"""Counts tokens as Qwen's embedding models do, offline: the provider's own ranks, through tiktoken.

The ranks, the pattern and the need for NFC are those of `dashscope.tokenizers.qwen_tokenizer` 2.0.2. The provider bills
one token more than is counted here for each text (its end mark).
"""

import binascii
import hashlib
import importlib.resources
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tiktoken

from tasks.chunking.tokenizer import Tokenizer
from tasks.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class _Ranks:
    file: str
    sha256: str
    pattern: str


BYTE_PAIRS = {
    "qwen": _Ranks(
        file="qwen.tiktoken",
        sha256="b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186",
        pattern=r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    )
}

_MAX_ENCODE_CHARS = 100_000
"""tiktoken 0.14 overflows its stack, with a BaseException, on a run of more than 1,000,000 white-space characters."""

_SEAM_SEARCH_CHARS = 1_000
_NFC_BLOCK_CHARS = 64


class BytePairTokenizer(Tokenizer):
    """A byte-pair tokenizer. Special tokens are ordinary text to it: a document may well spell `<|endoftext|>`."""

    def __init__(self, encoding: tiktoken.Encoding, token_bytes: npt.NDArray[np.int64]) -> None:
        """`token_bytes[i]` is the length of token i in UTF-8 bytes."""
        self._encoding = encoding
        self._token_bytes = token_bytes

    def count(self, text: str) -> int:
        """The number of tokens of `text`, without the end mark.

        >>> read_byte_pairs("qwen").count("衣服的质量杠杠的")
        5
        """
        return sum(len(self._encoding.encode_ordinary(piece)) for piece in _encodable(_nfc(text)))

    def token_ends(self, text: str) -> npt.NDArray[np.int64]:
        """Where each token of `text` ends, as an offset into its UTF-8 bytes, ascending.

        Where `text` is not in NFC the offsets are those of its NFC form, stretched to fit between places some 64
        characters apart: good to plan with, not to count with.
        """
        composed = _nfc(text)
        ids = [np.asarray(self._encoding.encode_ordinary(piece), dtype=np.int64) for piece in _encodable(composed)]
        ends = np.cumsum(self._token_bytes[np.concatenate(ids)]) if ids else np.empty(0, dtype=np.int64)
        return ends if composed is text else _stretched(ends, text)


def _nfc(text: str) -> str:
    """`text` in NFC; the very same object where it is so already."""
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def _encodable(text: str) -> Iterator[str]:
    """`text` in pieces that tiktoken can take, parted where no token could span, if there is such a place."""
    start = 0
    while len(text) - start > _MAX_ENCODE_CHARS:
        seam = start + _MAX_ENCODE_CHARS
        for place in range(seam, seam - _SEAM_SEARCH_CHARS, -1):
            # In the pattern a letter is followed only by letters, so a token always ends here.
            if text[place - 1].isalpha() and not text[place].isalpha():
                seam = place
                break
        yield text[start:seam]
        start = seam
    if start < len(text):
        yield text[start:] if start else text


def _stretched(ends: npt.NDArray[np.int64], text: str) -> npt.NDArray[np.int64]:
    """Offsets into the bytes of NFC(`text`) as offsets into the bytes of `text`."""
    blocks = [text[i : i + _NFC_BLOCK_CHARS] for i in range(0, len(text), _NFC_BLOCK_CHARS)]
    before = np.cumsum([0, *(len(block.encode()) for block in blocks)])
    after = np.cumsum([0, *(len(unicodedata.normalize("NFC", block).encode()) for block in blocks)])
    # A composition across two blocks makes the sum a little longer than the whole.
    stretched: npt.NDArray[np.int64] = np.interp(ends * (after[-1] / ends[-1]), after, before).astype(np.int64)
    return stretched


def read_byte_pairs(name: str) -> BytePairTokenizer:
    """The tokenizer `name` of `BYTE_PAIRS`. Raises ConfigurationError if its ranks are missing or altered."""
    known = BYTE_PAIRS[name]
    content = _read_ranks(known)
    ranks: dict[bytes, int] = {}
    for line in content.splitlines():
        token, rank = line.split()
        ranks[binascii.a2b_base64(token)] = int(rank)
    token_bytes = np.zeros(len(ranks), dtype=np.int64)
    token_bytes[list(ranks.values())] = [len(token) for token in ranks]
    encoding = tiktoken.Encoding(name, pat_str=known.pattern, mergeable_ranks=ranks, special_tokens={})
    return BytePairTokenizer(encoding, token_bytes)


def _read_ranks(known: _Ranks) -> bytes:
    """The bytes of the rank file, proven by their checksum."""
    try:
        content = importlib.resources.files("data").joinpath(known.file).read_bytes()
    except (OSError, ModuleNotFoundError) as error:
        msg = f"The tokenizer's ranks, data/{known.file}, cannot be read ({error}); reinstall millrace."
        raise ConfigurationError(msg) from error
    found = hashlib.sha256(content).hexdigest()
    if found != known.sha256:
        msg = (
            f"The tokenizer's ranks, data/{known.file}, are not those that were shipped: expected SHA-256 "
            f"{known.sha256}, found {found}. Counts would be wrong; reinstall millrace."
        )
        raise ConfigurationError(msg)
    return content
