"""A document's chunks: its spans with their ids, pages and headings."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator

from millrace.tasks.chunking.options import ChunkOptions
from millrace.tasks.chunking.sections import heading_paths
from millrace.tasks.chunking.splitter import split
from millrace.tasks.chunking.tokenizer import Tokenizer
from millrace.tasks.records import Chunk, Document, Page, chunk_id, text_key


def chunk_document(document: Document, tokenizer: Tokenizer, options: ChunkOptions) -> Iterator[Chunk]:
    """The chunks of `document` in order; none if it is blank.

    A chunk's heading path is that of its first character. Its id comes from the source, the text, and how many chunks
    of the document before it have the same text.
    """
    occurrences: Counter[bytes] = Counter()
    path: tuple[str, ...] = ()
    paths = heading_paths(document.headings)
    next_path = next(paths, None)
    page_starts = [page.start for page in document.pages]
    for number, span in enumerate(split(document.text, document.headings, tokenizer, options)):
        content = document.text[span.start : span.end]
        while next_path is not None and next_path[0] <= span.start:
            path = next_path[1]
            next_path = next(paths, None)
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
        )
        occurrences[key] += 1


def _page_of(pages: tuple[Page, ...], starts: list[int], position: int) -> int | None:
    """The number of the page of the character at `position`, or of the page before it; None if there are no pages."""
    return pages[max(0, bisect_right(starts, position) - 1)].number if pages else None
