"""A document's chunks: its spans with their ids, pages and headings."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence

from millrace.tasks.chunking.context import Contexts
from millrace.tasks.chunking.options import ChunkOptions
from millrace.tasks.chunking.sections import heading_paths
from millrace.tasks.chunking.splitter import split
from millrace.tasks.chunking.tokenizer import Tokenizer
from millrace.tasks.records import (
    SECTIONS_MAX_BYTES,
    Chunk,
    ChunkSection,
    Document,
    Page,
    chunk_id,
    metadata_json,
    text_key,
)

Place = tuple[int, tuple[str, ...]]
"""Where a section begins, and the heading path from there on."""


def chunk_document(document: Document, tokenizer: Tokenizer, options: ChunkOptions) -> Iterator[Chunk]:
    """The chunks of `document` in order; none if it is blank.

    A chunk's heading path is that of its first character; where sections share chunks, it is what the paths of all its
    sections have in common. Its id comes from the source, the text, and how many chunks of the document before it have
    the same text.
    """
    occurrences: Counter[bytes] = Counter()
    places: list[Place] = list(dict(heading_paths(document.headings)).items())
    place_starts = [start for start, _ in places]
    page_starts = [page.start for page in document.pages]
    contexts = Contexts(document, tokenizer, options.max_tokens) if options.context == "headings" else None
    for number, span in enumerate(split(document.text, document.headings, tokenizer, options.without_context())):
        content = document.text[span.start : span.end]
        inner = bisect_right(place_starts, span.start)
        path = places[inner - 1][1] if inner else ()
        sections: list[ChunkSection] = []
        if options.sections == "pack" and inner < bisect_left(place_starts, span.end):
            inside = [(span.start, path), *places[inner : bisect_left(place_starts, span.end)]]
            path = _shared(path for _, path in inside)
            sections = [
                ChunkSection(start, own[len(path) :], _page_of(document.pages, page_starts, start))
                for start, own in inside
            ]
        listed = _as_many_as_may_be(sections)
        context, embedded_tokens = contexts.of(content, span.start, path) if contexts else ("", None)
        key = text_key(content)
        yield Chunk(
            id=chunk_id(document.source, content, occurrences[key]),
            source=document.source,
            content=content,
            start=span.start,
            end=span.end,
            number=number,
            tokens=span.tokens,
            page_start=_page_of(document.pages, page_starts, span.start),
            page_end=_page_of(document.pages, page_starts, span.end - 1),
            heading_path=path,
            title=document.title,
            document_hash=document.document_hash,
            extra=document.extra,
            sections=tuple(listed),
            sections_left_out=len(sections) - len(listed),
            context=context,
            embedded_tokens=embedded_tokens,
        )
        occurrences[key] += 1


def _shared(paths: Iterator[tuple[str, ...]]) -> tuple[str, ...]:
    """The headings that all paths begin with.

    >>> _shared(iter([("A", "B"), ("A", "C", "B")]))
    ('A',)
    """
    shared = next(paths)
    for path in paths:
        same = [a == b for a, b in zip(shared, path, strict=False)]
        shared = shared[: same.index(False) if False in same else len(same)]
    return shared


def _as_many_as_may_be(sections: Sequence[ChunkSection]) -> Sequence[ChunkSection]:
    """Those that fit into `SECTIONS_MAX_BYTES`: all, or all down to some level; perhaps none."""
    depth = max((len(section.heading_path) for section in sections), default=0)
    while len(metadata_json({"sections": [s.as_json() for s in sections]}).encode()) > SECTIONS_MAX_BYTES:
        depth -= 1
        sections = [section for section in sections if len(section.heading_path) <= depth]
    return sections


def _page_of(pages: tuple[Page, ...], starts: list[int], position: int) -> int | None:
    """The number of the page of the character at `position`, or of the page before it; None if there are no pages."""
    return pages[max(0, bisect_right(starts, position) - 1)].number if pages else None
