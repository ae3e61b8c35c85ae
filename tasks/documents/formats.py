"""Which reader a file name's suffix asks for.

What a format's reader makes of one file's content, and of a part that it may not touch again.

Plain text: kept as it is, without headings and title.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from millrace.tasks.errors import Rejected
from millrace.tasks.records import Document, Heading, Page, Reject, SourceFile


@dataclass(frozen=True, slots=True)
class Extraction:
    """Text, and what the format says about it; `title` is "" where the format names none.

    `blank_pages` counts pages on which there is nothing.
    """

    text: str
    title: str = ""
    headings: tuple[Heading, ...] = ()
    pages: tuple[Page, ...] = ()
    blank_pages: int = 0


def given_up(name: str, item: str, cause: str, remedy: str) -> Reject:
    """The Reject for a unit during which an earlier reader hung or died: `cause` is its caller's word for how."""
    reason = "reader_died" if cause.startswith("died") else "timeout"
    return Reject("read", name, item, reason, f"{item or 'The file'} was given up ({cause}).", remedy)


def read_text(text: str) -> Extraction:
    """The text itself."""
    return Extraction(text)


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
"""The suffixes that are listed unless `sources.include` says otherwise, in lower case."""


def format_of(name: str) -> Format:
    """The format of a file of this name; what no suffix tells is text."""
    return FORMATS.get(PurePosixPath(name).suffix.lower(), "text")


def refusals(file: SourceFile, found: Iterator[Document | Reject]) -> Iterator[Document | Reject]:
    """What is found in a file, and a Reject in place of an exception that says what is wrong with the file itself."""
    try:
        yield from found
    except Rejected as refused:
        yield Reject("read", file.name, "", refused.reason, str(refused), refused.remedy)
    except OSError as error:
        yield Reject(
            "read", file.name, "", "unreadable", f"The file cannot be read ({error.strerror or error}).",
            "Check that it still exists, its permissions and its disk.",
        )  # fmt: skip
    except MemoryError:
        yield Reject(
            "read", file.name, "", "memory", f"Its {file.size_bytes:,} bytes need more memory than there may be used.",
            "Split the file, or raise the memory limit.",
        )  # fmt: skip


def document_of(file: SourceFile, extraction: Extraction, digest: str) -> Document:
    """The document of a file that is one document; `digest` is the SHA-256 (hex) of its bytes.

    Raises:
        Rejected: there is no text in it.
    """
    if not extraction.text or extraction.text.isspace():
        raise Rejected(
            "The file holds no text besides its markup.",
            reason="no_text",
            remedy="Look at it in a browser: a page that scripts fill has to be saved after they have run.",
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
