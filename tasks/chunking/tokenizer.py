"""What counts tokens: a model's own tokenizer, or the bytes of a text where nobody knows which that is."""

import functools
import hashlib
import unicodedata
from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.errors import ConfigurationError


class Tokenizer(ABC):
    """Counts the tokens of a text as a model does, or never fewer."""

    @staticmethod
    def load(name: str = "qwen") -> "Tokenizer":
        """The tokenizer called `name` (qwen, bytes), or the one in the file `name` (a tokenizer.json); once a process.

        Raises:
            ConfigurationError: there is no such tokenizer, or it cannot be read.
        """
        return _load(name)

    @abstractmethod
    def count(self, text: str) -> int:
        """The number of tokens of `text`, without the marks that a model adds."""

    @abstractmethod
    def token_ends(self, text: str) -> npt.NDArray[np.int64]:
        """Where each token of `text` ends, as an offset into its UTF-8 bytes, ascending.

        Good to plan with, not to count with, where a model changes a text before it counts.
        """


class ByteTokenizer(Tokenizer):
    """Takes every byte for a token, and so gives no fewer than any tokenizer that falls back to bytes.

    Normal forms can be longer than the text was (of it and of NFC and NFKC the longest counts), and no piece of a word
    is shorter than a byte. What a model adds before and after a text is not in it.
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
        many, size_bytes = self.count(text), len(text.encode())
        ends = np.arange(1, many + 1, dtype=np.int64)
        return ends if many == size_bytes else ends * size_bytes // many


def tokenizer_identity(name: str) -> str:
    """`name`, or for a file its content's hash: what shapes chunks, wherever the file is.

    Raises ConfigurationError for a file that cannot be read.
    """
    return f"file-{hashlib.sha256(read_tokenizer_file(name)).hexdigest()}" if is_file_name(name) else name


def is_file_name(name: str) -> bool:
    """Whether `name` means a file rather than a known tokenizer."""
    return name.endswith(".json")


def read_tokenizer_file(name: str) -> bytes:
    """The content of the file. Raises ConfigurationError."""
    try:
        return Path(name).read_bytes()
    except OSError as error:
        message = f"embedding.tokenizer: {name} cannot be read ({error.strerror or error})"
        raise ConfigurationError(message) from error


def _other_forms(text: str) -> list[str]:
    return [unicodedata.normalize(form, text) for form in ("NFC", "NFKC") if not unicodedata.is_normalized(form, text)]


@functools.cache
def _load(name: str) -> Tokenizer:
    from tasks.chunking.byte_pairs import BYTE_PAIRS, read_byte_pairs

    if name == "bytes":
        return ByteTokenizer()
    if name in BYTE_PAIRS:
        return read_byte_pairs(name)
    if is_file_name(name):
        from tasks.chunking.tokenizer_file import FileTokenizer

        return FileTokenizer(name)
    known = ", ".join(["bytes", *sorted(BYTE_PAIRS)])
    message = f"There is no tokenizer {name!r}; known: {known}, or the path of a model's tokenizer.json."
    raise ConfigurationError(message)
