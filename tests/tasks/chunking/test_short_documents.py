"""A short document is counted and done, and comes out as if its boundaries had been looked for."""

from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.tasks.chunking import ChunkOptions, Tokenizer, chunk_document, chunks, split, splitter
from millrace.tasks.documents.formats import Extraction
from millrace.tasks.documents.html import read_html
from millrace.tasks.documents.markup import read_markdown, read_text
from millrace.tasks.records import Document, Heading, Page

_ENGLISH = "The sluice is opened by hand. Turn the wheel twice, then wait; e.g. for the level to fall! "
_CHINESE = "闸门由人工开启。转动手轮两圈，然后等待水位下降；详见手册第三章！"
_SENTENCES = st.sampled_from(
    [
        _ENGLISH,
        _CHINESE,
        _ENGLISH * 3,
        _CHINESE * 5,
        "word",
        "e\u0301\u0301",
        "👨‍👩‍👧‍👦🇨🇳",
        "x" * 300,
        "\u0958\ufb2c" * 40,
    ]
)
_BREAKS = st.sampled_from(["", " ", "\n", "\n\n", "\r\n", "\u3000", "\u2028", " \n \n"])
_TEXTS = st.lists(st.tuples(_BREAKS, _SENTENCES), max_size=4).map(lambda parts: "".join(map("".join, parts)))
_TITLES = st.sampled_from(["# Opening", "## 开启", "### Closing", ""])
_MARKDOWN = st.lists(st.tuples(_TITLES, _TEXTS), max_size=3).map(
    lambda sections: "\n\n".join(f"{title}\n\n{text}" for title, text in sections)
)
_EXTRACTIONS = st.one_of(
    _TEXTS.map(read_text),
    _MARKDOWN.map(read_markdown),
    st.lists(st.tuples(st.integers(1, 3), _TEXTS), max_size=3).map(
        lambda sections: read_html("".join(f"<h{rank}>One</h{rank}><p>{text}</p>" for rank, text in sections))
    ),
)
_OPTIONS = st.builds(
    lambda tokens, overlap, size, sections: ChunkOptions(tokens, tokens // overlap, size, sections),
    st.sampled_from([24, 64, 200, 512]),
    st.sampled_from([2, 4, 1000]),
    st.sampled_from([200, 700, 8192]),
    st.sampled_from(["pack", "apart"]),
)


@settings(max_examples=120)
@given(_EXTRACTIONS, _OPTIONS, st.sampled_from(["qwen", "bytes"]), st.integers(1, 40))
def test_a_document_has_the_chunks_that_its_boundaries_give(
    extraction: Extraction, options: ChunkOptions, name: str, page_chars: int
) -> None:
    text, tokenizer = extraction.text, Tokenizer.load(name)
    pages = tuple(
        Page(number, start, min(start + page_chars, len(text)))
        for number, start in enumerate(range(0, len(text), page_chars), start=1)
    )
    document = Document("a", text, "A", "00" * 32, pages, extraction.headings, {"lang": "en"})
    quick = list(chunk_document(document, tokenizer, options))
    with patch.object(chunks, "split", splitter.split_at_boundaries):
        assert list(chunk_document(document, tokenizer, options)) == quick


@pytest.mark.parametrize("text", [_ENGLISH, f"\n{_CHINESE}\n\n{_ENGLISH}\n", f"# One\n\n{_ENGLISH}"])
def test_no_boundary_of_a_short_document_is_looked_for(tokenizer: Tokenizer, text: str) -> None:
    headings = [Heading(1, "One", 0)] if text.startswith("#") else []
    with patch.object(splitter, "split_at_boundaries", side_effect=AssertionError):
        (span,) = split(text, headings, tokenizer, ChunkOptions())
    assert text[span.start : span.end] == text.strip()
