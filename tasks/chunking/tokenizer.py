"""Tokenizers: count the tokens of a text as a model does, offline.

- `BytePairTokenizer` counts as Qwen's embedding models do, from the provider's own ranks, through tiktoken. Ranks,
  pattern and the need for NFC are those of `dashscope.tokenizers.qwen_tokenizer` 2.0.2. The provider bills one token
  more for each text than is counted here (its end mark).
- `FileTokenizer` is a model's own tokenizer, read from its `tokenizer.json` through the optional library `tokenizers`.
- `ByteTokenizer` counts bytes, an upper bound for models whose tokenizer is unknown.
"""

import binascii
import functools
import hashlib
import importlib.resources
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tiktoken

from millrace.tasks.chunking.characters import code_points
from millrace.tasks.errors import ConfigurationError


class Tokenizer(ABC):
    """Counts at least as many tokens in a text as the model does, and exactly as many where its tokenizer is known."""

    @staticmethod
    def load(name: str = "qwen") -> "Tokenizer":
        """The tokenizer called `name` (qwen, bytes), or the one in the file `name` (a tokenizer.json); cached.

        Raises:
            ConfigurationError: there is no such tokenizer, or it cannot be read.
        """
        return _load(name)

    @abstractmethod
    def count(self, text: str) -> int:
        """The number of tokens of `text`, without the marks that the model adds."""

    @abstractmethod
    def token_ends(self, text: str) -> npt.NDArray[np.int64]:
        """Where each token of `text` ends, as an offset into its UTF-8 bytes, ascending.

        Approximate where the model normalizes a text before it counts: choose cuts with it, check them with `count`.
        """


class ByteTokenizer(Tokenizer):
    """Counts every byte as a token, and so no fewer than any tokenizer whose smallest token is a byte.

    A tokenizer may normalize the text first, and a normal form can be longer: the longest of the text, its NFC and its
    NFKC counts. The marks that a model adds before and after a text are not included.
    """

    def count(self, text: str) -> int:
        """The number of bytes.

        >>> Tokenizer.load("bytes").count("流量 1")
        8
        """
        if text.isascii():
            return len(text)
        return max(len(form.encode()) for form in (text, *_other_forms(text)))

    def token_ends(self, text: str) -> npt.NDArray[np.int64]:
        """The end of each byte; spread evenly where a normal form is longer than the text."""
        tokens, size_bytes = self.count(text), len(text.encode())
        ends = np.arange(1, tokens + 1, dtype=np.int64)
        return ends if tokens == size_bytes else ends * size_bytes // tokens


def tokenizer_identity(name: str) -> str:
    """What identifies the tokenizer wherever its file is: its name, or the hash of its file's content.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    return f"file-{hashlib.sha256(read_tokenizer_file(name)).hexdigest()}" if is_file_name(name) else name


def is_file_name(name: str) -> bool:
    """Whether `name` is a file's path rather than the name of a built-in tokenizer."""
    return name.endswith(".json")


def read_tokenizer_file(name: str) -> bytes:
    """The content of the file.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return Path(name).read_bytes()
    except OSError as error:
        message = f"embedding.tokenizer: {name} cannot be read ({error.strerror or error})"
        raise ConfigurationError(message) from error


def _other_forms(text: str) -> list[str]:
    return [unicodedata.normalize(form, text) for form in ("NFC", "NFKC") if not unicodedata.is_normalized(form, text)]


@functools.cache
def _load(name: str) -> Tokenizer:
    if name == "bytes":
        return ByteTokenizer()
    if name in BYTE_PAIRS:
        return read_byte_pairs(name)
    if is_file_name(name):
        return FileTokenizer(name)
    known = ", ".join(["bytes", *sorted(BYTE_PAIRS)])
    message = f"There is no tokenizer {name!r}; known: {known}, or the path of a model's tokenizer.json."
    raise ConfigurationError(message)


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
    """A byte-pair tokenizer. Special tokens are ordinary text to it, because a document may spell `<|endoftext|>`."""

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

        Approximate where `text` is not in NFC: the offsets are those of its NFC form, interpolated between positions
        64 characters apart.
        """
        composed = _nfc(text)
        ids = [np.asarray(self._encoding.encode_ordinary(piece), dtype=np.int64) for piece in _encodable(composed)]
        ends = np.cumsum(self._token_bytes[np.concatenate(ids)]) if ids else np.empty(0, dtype=np.int64)
        return ends if composed is text else _interpolated(ends, text)


def _nfc(text: str) -> str:
    """`text` in NFC; the same object if it is in NFC already."""
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def _encodable(text: str) -> Iterator[str]:
    """`text` in pieces short enough for tiktoken, cut where a token always ends, if there is such a position."""
    start = 0
    while len(text) - start > _MAX_ENCODE_CHARS:
        seam = start + _MAX_ENCODE_CHARS
        for position in range(seam, seam - _SEAM_SEARCH_CHARS, -1):
            # In the pattern a letter is followed only by letters, so a token always ends here.
            if text[position - 1].isalpha() and not text[position].isalpha():
                seam = position
                break
        yield text[start:seam]
        start = seam
    if start < len(text):
        yield text[start:] if start else text


def _interpolated(ends: npt.NDArray[np.int64], text: str) -> npt.NDArray[np.int64]:
    """Offsets into the bytes of NFC(`text`), converted to approximate offsets into the bytes of `text`."""
    blocks = [text[i : i + _NFC_BLOCK_CHARS] for i in range(0, len(text), _NFC_BLOCK_CHARS)]
    before = np.cumsum([0, *(len(block.encode()) for block in blocks)])
    after = np.cumsum([0, *(len(unicodedata.normalize("NFC", block).encode()) for block in blocks)])
    # A composition across two blocks makes the sum a little longer than the whole.
    converted: npt.NDArray[np.int64] = np.interp(ends * (after[-1] / ends[-1]), after, before).astype(np.int64)
    return converted


def read_byte_pairs(name: str) -> BytePairTokenizer:
    """The tokenizer `name` of `BYTE_PAIRS`.

    Raises:
        ConfigurationError: the file of its ranks is missing or altered.
    """
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
    """The bytes of the rank file, verified by their checksum."""
    try:
        content = importlib.resources.files("millrace.data").joinpath(known.file).read_bytes()
    except (OSError, ModuleNotFoundError) as error:
        msg = f"The tokenizer's ranks, data/{known.file}, cannot be read ({error}); reinstall millrace."
        raise ConfigurationError(msg) from error
    found = hashlib.sha256(content).hexdigest()
    if found != known.sha256:
        msg = (
            f"The tokenizer's ranks, data/{known.file}, have been altered since they were installed: expected SHA-256 "
            f"{known.sha256}, found {found}. Counts would be wrong; reinstall millrace."
        )
        raise ConfigurationError(msg)
    return content


class FileTokenizer(Tokenizer):
    """The tokenizer in a file. It treats special tokens as ordinary text and adds none."""

    def __init__(self, path: str) -> None:
        """Read the file.

        Raises:
            ConfigurationError: the library is missing, or the file is not a valid tokenizer.json.
        """
        content = read_tokenizer_file(path)
        try:
            import tokenizers
        except ImportError as error:
            message = (
                f"embedding.tokenizer is {path}; reading it needs the library `tokenizers`: "
                "pip install 'millrace[tokenizers]'"
            )
            raise ConfigurationError(message) from error
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(content.decode())
        except Exception as error:  # the library raises nothing narrower
            message = f"embedding.tokenizer: {path} is not a valid tokenizer.json ({error})"
            raise ConfigurationError(message) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # A document may spell a special token; counted as text it has more tokens than one, which is the safe side.
        self._tokenizer.encode_special_tokens = True

    def count(self, text: str) -> int:
        """The number of tokens of `text`, without special ones."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def token_ends(self, text: str) -> npt.NDArray[np.int64]:
        """Where each token of `text` ends, as an offset into its UTF-8 bytes, ascending."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        points = code_points(text)
        widths = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
        bytes_before = np.concatenate(([0], np.cumsum(widths)))
        ends = bytes_before[np.array([end for _, end in offsets], dtype=np.int64)]
        # Tokens that are parts of one character, or that a normalizer moved, may share an end or end earlier.
        return np.maximum.accumulate(ends) if len(ends) else ends
