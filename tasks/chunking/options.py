"""The bounds of a chunk, and whether sections share one."""

from dataclasses import dataclass, field, replace

from millrace.tasks.chunking.context import Context, context_bound
from millrace.tasks.chunking.rules import Sections
from millrace.tasks.errors import ConfigurationError

MAX_TOKENS = 8191
"""text-embedding-v4 takes 8,192 tokens, including the end mark."""


@dataclass(frozen=True, slots=True)
class ChunkOptions:
    """The bounds of a chunk, both inclusive, and whether sections share one.

    `max_tokens` does not count the end mark. A chunk begins at most `overlap_tokens` before the end of the previous
    chunk, and never before its own section. `max_bytes` counts UTF-8 bytes.
    With `sections` "pack" neighbouring sections share a chunk; with "apart" only small ones do. With `context`
    "headings" an eighth of `max_tokens` is set aside for what is put before the text when it is embedded. Both are no
    part of the repr, by which a lake knows documents that were cut before there was a choice.

    Raises:
        ConfigurationError: a bound is out of range.
    """

    max_tokens: int = 512
    overlap_tokens: int = 0
    max_bytes: int = 8192
    sections: Sections = field(default="apart", repr=False)
    context: Context = field(default="none", repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.max_tokens <= MAX_TOKENS:
            msg = f"chunking.max_tokens is {self.max_tokens}; it must be from 1 to {MAX_TOKENS}."
            raise ConfigurationError(msg)
        if not 0 <= self.overlap_tokens <= self.max_tokens // 2:
            msg = (
                f"chunking.overlap_tokens is {self.overlap_tokens}; it must be from 0 to half of chunking.max_tokens, "
                f"{self.max_tokens // 2}."
            )
            raise ConfigurationError(msg)
        if self.max_bytes < 4:
            msg = f"The column for a chunk's text holds {self.max_bytes} bytes; one character can need 4."
            raise ConfigurationError(msg)

    def without_context(self) -> "ChunkOptions":
        """The options by which the text itself is cut."""
        if self.context == "none":
            return self
        room = max(1, self.max_tokens - context_bound(self.max_tokens))
        return replace(self, context="none", max_tokens=room, overlap_tokens=min(self.overlap_tokens, room // 2))
