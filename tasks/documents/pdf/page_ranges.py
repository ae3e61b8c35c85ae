"""A long PDF file in ranges of pages, so that several processes can read it.

The number of pages alone decides whether a file is long, and what its ranges are, so the result of a file is the same
however many processes read it.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from millrace.tasks.documents.formats import document_of, file_errors_as_rejects, format_of
from millrace.tasks.documents.options import DocumentOptions
from millrace.tasks.documents.parsed import NOTHING_KEPT, ParsedFiles
from millrace.tasks.documents.pdf.engine import OutlineEntry
from millrace.tasks.documents.pdf.open_file import OpenFile, close_file, open_file
from millrace.tasks.documents.pdf.outline import Outline
from millrace.tasks.documents.pdf.reader import PagesRead, join_pages, read_pages
from millrace.tasks.documents.pdf.recognition import with_recognized
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Document, Reject, SourceFile

LONG_PDF_PAGES = 120
"""A file of more pages is long: the rest of it takes longer to read than a process takes to start."""

_RANGE_PAGES = 40
_LONG_PDF_BYTES = 500_000  # few files of so many pages are smaller


@dataclass(frozen=True, slots=True)
class PageRange:
    """One range of a file's pages, as read; `digest` is the SHA-256 (hex) of the file from which it was read."""

    digest: str
    pages: PagesRead

    def to_json(self) -> bytes:
        """The range as JSON, for a file between two processes; a file that is read must not be able to run code."""
        return json.dumps(asdict(self), ensure_ascii=False).encode("utf-8", "surrogatepass")

    @classmethod
    def from_json(cls, data: bytes) -> "PageRange":
        """The range that `to_json` wrote.

        Raises:
            ValueError: `data` is damaged, or something else.
        """
        try:
            fields = json.loads(data.decode("utf-8", "surrogatepass"))
            pages = fields["pages"]
            outline = pages["outline"]
            return cls(
                digest=str(fields["digest"]),
                pages=PagesRead(
                    taken=tuple((int(number), str(text)) for number, text in pages["taken"]),
                    rejects=tuple(Reject(**reject) for reject in pages["rejects"]),
                    blank=int(pages["blank"]),
                    outline=outline
                    if outline is None
                    else Outline(
                        str(outline["metadata_title"]), tuple(OutlineEntry(**entry) for entry in outline["entries"])
                    ),
                    cpu_s=float(pages["cpu_s"]),
                ),
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"it holds no range of pages ({type(error).__name__}: {error})") from error


def page_ranges(page_count: int) -> list[range]:
    """The ranges of page numbers, from 1, in which a file of so many pages is read.

    >>> page_ranges(90)
    [range(1, 41), range(41, 81), range(81, 91)]
    """
    return [range(n, min(n + _RANGE_PAGES, page_count + 1)) for n in range(1, page_count + 1, _RANGE_PAGES)]


def may_be_long_pdf(file: SourceFile) -> bool:
    """Whether it is worth while to get ready for ranges before the file is opened; a guess by its name and size."""
    return format_of(file.name) == "pdf" and file.size_bytes >= _LONG_PDF_BYTES


def long_pdf_pages(file: SourceFile, options: DocumentOptions, *, at: Callable[[str], None]) -> int:
    """How many pages a long PDF file has; 0 of every other file, and of one that cannot be opened.

    It stays open for whoever reads it next in this process. `at` is as of `read_documents`.
    """
    if format_of(file.name) != "pdf":
        return 0
    at("")
    try:
        count = open_file(file, options.pdf_engine).pdf.page_count
    except (Rejected, OSError, MemoryError):  # `read_documents` says why
        return 0
    return count if count > LONG_PDF_PAGES else 0


def read_page_range(
    file: SourceFile,
    options: DocumentOptions,
    numbers: range,
    *,
    skip: Mapping[str, str],
    at: Callable[[str], None],
    parsed: ParsedFiles = NOTHING_KEPT,
) -> PageRange | None:
    """The pages of these numbers; None when the file cannot be opened any more. It stays open.

    `skip`, `at` and `parsed` are as of `read_documents`.

    Raises:
        Rejected: the pages take too long in all: "timeout".
    """
    at("")
    try:
        opened = open_file(file, options.pdf_engine)
    except (Rejected, OSError, MemoryError):
        return None
    return PageRange(opened.digest, pages_of(opened, file, options, numbers, skip=skip, at=at, parsed=parsed))


def pages_of(
    opened: OpenFile,
    file: SourceFile,
    options: DocumentOptions,
    numbers: range,
    *,
    skip: Mapping[str, str],
    at: Callable[[str], None],
    parsed: ParsedFiles,
) -> PagesRead:
    """The pages of these numbers of an open file, with text recognized where that is set.

    Raises:
        Rejected: the pages take too long in all: "timeout".
    """
    minimum = options.min_page_characters
    pages = read_pages(opened.pdf, numbers, file.name, min_page_characters=minimum, skip=skip, at=at)
    return with_recognized(pages, file, opened.digest, options, parsed=parsed, skip=skip, at=at)


def join_page_ranges(
    file: SourceFile, ranges: Sequence[PageRange], *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Document | Reject]:
    """What `read_documents` gives of a file, from all its ranges in order, read from the same bytes."""
    close_file()

    def joined() -> Iterator[Document | Reject]:
        for item in join_pages([each.pages for each in ranges], file.name, skip=skip, at=at):
            yield item if isinstance(item, Reject) else document_of(file, item, ranges[0].digest)

    yield from file_errors_as_rejects(file, joined())
