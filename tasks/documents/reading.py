"""One file to documents: the only door to the formats."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from tasks.documents.codec_names import cookie
from tasks.documents.encoding import decode
from tasks.documents.extraction import Extraction, given_up
from tasks.documents.file_bytes import bytes_of
from tasks.documents.formats import Format, format_of
from tasks.documents.pdf_engine import PdfEngine, require_engine
from tasks.errors import Rejected
from tasks.records import Document, Reject, SourceFile

_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class DocumentOptions:
    """How files are read.

    `encoding` forces the encoding of text formats (None: detect). The columns are those of record files; only the
    `metadata_columns` named go into the metadata. A page that is one image counts as a scan when it has fewer than
    `min_page_characters` characters, white space aside. `pdf_engine` is the library that reads PDF files.

    Raises:
        ConfigurationError: the engine's library is not installed.
    """

    encoding: str | None = None
    text_column: str = "text"
    id_column: str = "id"
    title_column: str = "title"
    metadata_columns: tuple[str, ...] = ()
    min_page_characters: int = 20
    pdf_engine: PdfEngine = "pypdf"

    def __post_init__(self) -> None:
        require_engine(self.pdf_engine)


def _unwatched(item: str) -> None:
    """Where nobody sets a deadline."""


def read_documents(
    file: SourceFile,
    options: DocumentOptions,
    *,
    skip: Mapping[str, str] = _NOTHING,
    at: Callable[[str], None] = _unwatched,
) -> Iterator[Document | Reject]:
    """The documents of one file, and a Reject for each part of it that could not be taken.

    A record file gives one document a row (`source` is the file's name, "#" and the row's id), any other file at most
    one. What is wrong with the file itself comes as a Reject of item "", never as an exception.

    `at(item)` is called before each unit that could take too long ("" for opening, "page 7", "outline", "row 12000").
    A caller that had to kill the reader during a unit reads the file again with `skip={item: why}`; that unit becomes a
    Reject of reason "timeout" (or "reader_died", where `why` begins with "died") without being touched.

    Raises:
        ConfigurationError: `options.encoding` names no encoding.
    """
    if "" in skip:
        yield given_up(file.name, "", skip[""], "Save it anew in its own program, or split it, then retry.")
        return
    at("")
    yield from refusals(file, _read(file, options, skip, at))


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


def _read(
    file: SourceFile, options: DocumentOptions, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Document | Reject]:
    form = format_of(file.name)
    if form in {"json_lines", "csv", "tsv", "parquet"}:
        from tasks.documents.record_files import read_records

        yield from read_records(file, form, options, skip=skip, at=at)
        return
    if form == "pdf":
        yield from _read_pdf(file, options, skip, at)
        return
    data = bytes_of(file.path)
    digest = hashlib.sha256(data).hexdigest()
    if data.startswith(b"%PDF-"):
        raise Rejected("The file is a PDF by its content.", reason="binary", remedy="Give it the suffix .pdf.")
    if form == "html":
        from tasks.documents.html import declared_charset

        text = decode(data, forced=options.encoding, declared=declared_charset(data))
    else:
        text = decode(data, forced=options.encoding, declared=cookie(data))
    del data  # a 200 MB file should not lie in memory twice while it is worked on
    yield document_of(file, _extracted(form, text), digest)


def _read_pdf(
    file: SourceFile, options: DocumentOptions, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Document | Reject]:
    digest, found = _pdf_contents(file, options, skip, at)  # the file is not held open while they are taken
    for item in found:
        yield item if isinstance(item, Reject) else document_of(file, item, digest)


def _pdf_contents(
    file: SourceFile, options: DocumentOptions, skip: Mapping[str, str], at: Callable[[str], None]
) -> tuple[str, list[Extraction | Reject]]:
    from tasks.documents.pdf import read_pdf
    from tasks.documents.pdf_open import close_file, open_file

    try:
        opened, minimum = open_file(file, options.pdf_engine), options.min_page_characters
        return opened.digest, list(read_pdf(opened.pdf, file.name, min_page_characters=minimum, skip=skip, at=at))
    finally:
        close_file()


def _extracted(form: Format, text: str) -> Extraction:
    match form:
        case "markdown":
            from tasks.documents.markdown import read_markdown

            return read_markdown(text)
        case "restructured":
            from tasks.documents.restructured import read_restructured

            return read_restructured(text)
        case "html":
            from tasks.documents.html import read_html

            return read_html(text)
        case _:
            from tasks.documents.text import read_text

            return read_text(text)


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
