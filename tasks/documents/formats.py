"""Formats: which one a file name's suffix means, and how a format's reader reports the text or the fault it found."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO, Literal, Protocol, TypeVar

from millrace.tasks.documents.file_kinds import kind_of
from millrace.tasks.documents.invisible import has_visible_text
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Document, Heading, JsonValue, LeftOut, Page, Reject, SourceFile, Stage, Table

MAX_TITLE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Extraction:
    """A document's text, and what its format says about it.

    `title` is "" if the format names none. `blank_pages` counts the pages that hold nothing, `running_lines`
    the running heads, feet and page numbers that were left out. `extra` becomes metadata.
    """

    text: str
    title: str = ""
    headings: tuple[Heading, ...] = ()
    pages: tuple[Page, ...] = ()
    blank_pages: int = 0
    running_lines: int = 0
    tables: tuple[Table, ...] = ()
    extra: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Member:
    """A file within a file, such as an attachment, that is to be read as a document of its own.

    `name` is its path within, with `/`; the document is called after both, with "#" between. `content` is a real file
    without a name (`tempfile.TemporaryFile`), which whoever takes the member closes; or what makes one, or raises
    `Rejected`, and is called only when a reader takes the member. `format` overrules its suffix.
    """

    name: str
    content: BinaryIO | Callable[[], BinaryIO]
    format: "Format | None" = None


@dataclass(frozen=True, slots=True)
class LeftOutMember:
    """A file within a file that is left out as it would be in a folder, and how it counts there."""

    source: str
    counted: LeftOut

    def as_reject(self) -> Reject | None:
        """The Reject of a file that no reader takes; None of one that is left out for another reason."""
        return next((unsupported("read", self.source, suffix) for suffix in self.counted.unsupported), None)


class Reader(Protocol):
    """What the reader of a binary format is.

    It gets the open file, which it reads from the beginning and does not close, the name for its rejects, and `skip`
    and `at` as of `read_documents`. It gives one Extraction at most, the members, what it leaves out, and a Reject for
    each part that could not be read. A member has to be taken before the next item is asked for.

    Raises:
        Rejected: nothing of the file can be read.
    """

    def __call__(
        self, opened: BinaryIO, name: str, *, skip: Mapping[str, str], at: Callable[[str], None]
    ) -> "Iterator[Extraction | Member | LeftOutMember | Reject]":
        """The contents of the file."""


CONVERT = (
    "Convert it to a format that millrace reads, name a command that does in documents.external, or leave it out with"
    " sources.exclude."
)


def unsupported(stage: Stage, source: str, suffix: str) -> Reject:
    """The Reject of a file that no reader takes, by its suffix."""
    kind = f"with the suffix {suffix}" if suffix else "without a suffix"
    return Reject(stage, source, "", "unsupported_format", f"No reader takes files {kind}.", CONVERT)


Found = TypeVar("Found")


def abandoned_unit(name: str, item: str, cause: str, remedy: str) -> Reject:
    """The Reject for a unit at which an earlier reader process hung or died.

    `cause` is the caller's description; it begins with "died" if the process ended.
    """
    reason = "reader_died" if cause.startswith("died") else "timeout"
    return Reject("read", name, item, reason, f"{item or 'The file'} was abandoned ({cause}).", remedy)


Format = Literal[
    "text", "markdown", "restructured", "html", "pdf", "picture", "json_lines", "csv", "tsv", "parquet",
    "notebook", "subtitles", "xml",
    "docx", "sheets", "pptx", "odf", "rtf", "epub", "eml", "mbox", "outlook", "zip", "tar", "gzip",
]  # fmt: skip

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
    ".ipynb": "notebook",
    ".srt": "subtitles",
    ".vtt": "subtitles",
    ".xml": "xml",
    ".pdf": "pdf",
    ".docx": "docx",
    ".docm": "docx",
    ".dotx": "docx",
    ".xlsx": "sheets",
    ".xlsm": "sheets",
    ".xlsb": "sheets",
    ".xls": "sheets",
    ".ods": "sheets",
    ".pptx": "pptx",
    ".pptm": "pptx",
    ".ppsx": "pptx",
    ".odt": "odf",
    ".odp": "odf",
    ".rtf": "rtf",
    ".epub": "epub",
    ".eml": "eml",
    ".mbox": "mbox",
    ".msg": "outlook",
    ".zip": "zip",
    ".tar": "tar",
    ".gz": "gzip",
    ".tgz": "gzip",
    ".jsonl": "json_lines",
    ".ndjson": "json_lines",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
"""The suffixes, in lower case, of the files that are read unless `sources.include` says otherwise."""


HOLDING = frozenset[Format](["json_lines", "csv", "tsv", "parquet", "eml", "outlook", "mbox", "zip", "tar", "gzip"])
"""The formats of files that may hold several documents, which are called after the file, with "#" between."""

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
"""The suffixes of picture files, which are read where text is recognized in them."""


def known_format(name: str) -> Format | None:
    """The format of a file of this name; None if no reader takes it, or what is packed in it.

    >>> known_format("a.csv.gz"), known_format("a.svg.gz"), known_format("a.tar.gz"), known_format("a.svg")
    ('gzip', None, 'gzip', None)
    """
    path = PurePosixPath(name.lower())
    is_packed_unknown = path.suffix == ".gz" and PurePosixPath(path.stem).suffix not in FORMATS
    return None if is_packed_unknown else FORMATS.get(path.suffix)


def format_of(name: str) -> Format:
    """The format of a file of this name; text if its suffix is unknown."""
    suffix = PurePosixPath(name).suffix.lower()
    return "picture" if suffix in PICTURES else FORMATS.get(suffix, "text")


_BY_CONTENT: dict[str, Format] = {
    "a PDF document": "pdf",
    "a Word document": "docx",
    "an Excel workbook": "sheets",
    "an OpenDocument spreadsheet": "sheets",
    "an OpenDocument file": "odf",
    "a PowerPoint presentation": "pptx",
    "an EPUB book": "epub",
    "an RTF document": "rtf",
    "a Parquet table": "parquet",
}
_SAVED_AS_HTML = frozenset[Format](["docx", "sheets", "pptx", "rtf"])
_HTML = re.compile(rb"[\xef\xbb\xbf\s]*<(?:!doctype html|html|table|meta)[\s>]", re.IGNORECASE)


def format_by_content(head: bytes, form: Format) -> Format:
    """The format of a file that is `form` by its name and begins with `head`, where its suffix lies, or there is none.

    Programs save Word documents and sheets as HTML or RTF and keep the suffix. A PDF that is HTML stays a PDF: it is
    the page of a server that did not find the file.
    """
    found = _BY_CONTENT.get(kind_of(head))
    if found is None and form in _SAVED_AS_HTML and _HTML.match(head):
        return "html"
    return found or form


def has_telling_content(head: bytes) -> bool:
    """Whether a file that begins with `head` is of a format that is known without a suffix."""
    return kind_of(head) in _BY_CONTENT


def file_errors_as_rejects(file: SourceFile, items: Iterator[Found]) -> Iterator[Found | Reject]:
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
            remedy="Open it in its own program: pictures of text, and what scripts write, must be saved as text.",
        )
    return Document(
        source=file.name,
        text=extraction.text,
        title=extraction.title or PurePosixPath(file.name).stem,
        document_hash=digest,
        pages=extraction.pages,
        headings=extraction.headings,
        blank_pages=extraction.blank_pages,
        running_lines=extraction.running_lines,
        tables=extraction.tables,
        extra=extraction.extra,
    )
