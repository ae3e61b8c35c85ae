"""Formats: which one a file name's suffix means, and how a format's reader reports the text or the fault it found."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from millrace.tasks.documents.invisible import has_visible_text
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Document, Heading, Page, Reject, SourceFile

MAX_TITLE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Extraction:
    """A document's text, and what its format says about it.

    `title` is "" if the format names none. `blank_pages` counts the pages that hold nothing.
    """

    text: str
    title: str = ""
    headings: tuple[Heading, ...] = ()
    pages: tuple[Page, ...] = ()
    blank_pages: int = 0


def abandoned_unit(name: str, item: str, cause: str, remedy: str) -> Reject:
    """The Reject for a unit at which an earlier reader process hung or died.

    `cause` is the caller's description; it begins with "died" if the process ended.
    """
    reason = "reader_died" if cause.startswith("died") else "timeout"
    return Reject("read", name, item, reason, f"{item or 'The file'} was abandoned ({cause}).", remedy)


Format = Literal["text", "markdown", "restructured", "html", "pdf", "json_lines", "csv", "tsv", "parquet"]

FORMATS: dict[str, Format] = {
    ".txt": "text",
    ".text": "text",
    ".log": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".rst": "restructured",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".jsonl": "json_lines",
    ".ndjson": "json_lines",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
"""The suffixes, in lower case, of the files that are read unless `sources.include` says otherwise."""


def format_of(name: str) -> Format:
    """The format of a file of this name; text if its suffix is unknown."""
    return FORMATS.get(PurePosixPath(name).suffix.lower(), "text")


def file_errors_as_rejects(file: SourceFile, items: Iterator[Document | Reject]) -> Iterator[Document | Reject]:
    """The items, and a Reject in place of an exception that means the file itself cannot be read."""
    try:
        yield from items
    except Rejected as error:
        yield Reject("read", file.name, "", error.reason, str(error), error.remedy)
    except OSError as error:
        yield Reject(
            "read", file.name, "", "unreadable", f"The file cannot be read ({error.strerror or error}).",
            "Check that it still exists, its permissions and its disk.",
        )  # fmt: skip
    except MemoryError:
        yield Reject(
            "read", file.name, "", "memory", f"Its {file.size_bytes:,} bytes need more memory than may be used.",
            "Split the file, or raise the memory limit.",
        )  # fmt: skip


def document_of(file: SourceFile, extraction: Extraction, digest: str) -> Document:
    """The document of a file that holds one document; `digest` is the SHA-256 (hex) of its bytes.

    Raises:
        Rejected: the file holds no text.
    """
    if not has_visible_text(extraction.text):
        raise Rejected(
            "The file holds no text besides its markup.",
            reason="no_text",
            remedy="Open it in a browser: if scripts fill the page, save it after they have run.",
        )
    return Document(
        source=file.name,
        text=extraction.text,
        title=extraction.title or PurePosixPath(file.name).stem,
        document_hash=digest,
        pages=extraction.pages,
        headings=extraction.headings,
        blank_pages=extraction.blank_pages,
    )
