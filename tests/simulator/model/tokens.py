"""What the provider bills: tokens counted with the Qwen ranks.

Built from the rank file alone and sharing nothing with the pipeline, so that the two counts check each other.
The regular expression is Qwen's own; texts are NFC-normalised first; `encode_ordinary` semantics, so that a literal
`<|endoftext|>` in a document is ordinary text.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import unicodedata
from pathlib import Path

import tiktoken

RANK_FILE = Path(__file__).parents[3] / "data" / "qwen.tiktoken"
RANK_SHA256 = "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"

_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)

# tiktoken panics on a run of more than a million white-space characters; pieces this long are safe, and a text of
# more than one piece is far beyond every limit anyway.
_PIECE_CHARS = 100_000


@functools.cache
def qwen_encoding(rank_file: Path = RANK_FILE) -> tiktoken.Encoding:
    """The encoding of the rank file, built once (about 0.2 s).

    Raises ValueError if the file is not the published one.
    """
    content = rank_file.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != RANK_SHA256:
        message = f"{rank_file}: SHA-256 {found}, expected {RANK_SHA256} (qwen.tiktoken of the package dashscope 2.0.2)"
        raise ValueError(message)
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in content.splitlines())}
    return tiktoken.Encoding(name="qwen", pat_str=_PATTERN, mergeable_ranks=ranks, special_tokens={})


def bpe_tokens(text: str) -> int:
    """The number of Qwen tokens of `text`, without the end mark that some models add.

    >>> bpe_tokens("衣服的质量杠杠的")
    5
    """
    normal = unicodedata.normalize("NFC", text)
    encode = qwen_encoding().encode_to_numpy
    return sum(
        int(encode(normal[start : start + _PIECE_CHARS], disallowed_special=()).size)
        for start in range(0, len(normal), _PIECE_CHARS)
    )


def truncated(text: str, limit: int) -> str:
    """The beginning of `text` that has at most `limit` tokens, as an over-long text is cut by a server that truncates."""
    encoding = qwen_encoding()
    ids = encoding.encode_ordinary(unicodedata.normalize("NFC", text)[:_PIECE_CHARS])
    return encoding.decode(ids[:limit], errors="ignore")
