"""The laws of the chunking room, checked slowly and plainly."""

from collections.abc import Sequence

import regex  # type: ignore[import-untyped]

from millrace.tasks.chunking import ChunkOptions, Span, Tokenizer


def assert_lawful(text: str, spans: Sequence[Span], tokenizer: Tokenizer, options: ChunkOptions) -> None:
    """Every law that a splitting must obey whatever the text."""
    graphemes = [(m.start(), m.end()) for m in regex.finditer(r"\X", text)]
    covered = 0
    for before, span in zip([Span(-1, 0, 0), *spans], spans, strict=False):
        content = text[span.start : span.end]
        assert content
        assert content == content.strip()
        assert span.tokens == tokenizer.count(content)
        if len(content) > 1:
            assert span.tokens <= options.max_tokens
            assert len(content.encode()) <= options.max_bytes
        assert span.start > before.start
        assert span.end > before.end
        if span.start < covered:
            assert tokenizer.count(text[span.start : covered]) <= options.overlap_tokens
        assert not text[covered : span.start].strip()
        covered = span.end
    assert not text[covered:].strip()
    places = {span.start for span in spans} | {span.end for span in spans}
    for start, end in graphemes:
        grapheme = text[start:end].strip()
        first = text.index(grapheme, start)
        if any(first < place < first + len(grapheme) for place in places):
            assert tokenizer.count(grapheme) > options.max_tokens or len(grapheme.encode()) > options.max_bytes
