"""Read one file, whatever its format: the entry point to the readers."""

import hashlib
from collections.abc import Callable, Iterator, Mapping

from millrace.tasks.documents.encoding import decode, editor_declared_encoding
from millrace.tasks.documents.formats import (
    Extraction,
    Format,
    abandoned_unit,
    document_of,
    file_errors_as_rejects,
    format_of,
)
from millrace.tasks.documents.options import DocumentOptions
from millrace.tasks.documents.source_bytes import read_source
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Document, Reject, SourceFile

_SKIP_NONE: Mapping[str, str] = {}


def _no_deadline(item: str) -> None:
    """The default for `at`, where units have no deadline."""


def read_documents(
    file: SourceFile,
    options: DocumentOptions,
    *,
    skip: Mapping[str, str] = _SKIP_NONE,
    at: Callable[[str], None] = _no_deadline,
) -> Iterator[Document | Reject]:
    """The documents of one file, and a Reject for each part of it that could not be read.

    A record file gives one document for each row (`source` is the file's name, "#" and the row's id), any other file at
    most one. A fault of the file itself is a Reject with item "", never an exception.

    `at(item)` is called before each unit that could take too long ("" for opening, "page 7", "outline", "row 12000").
    A caller that had to kill the reader during a unit reads the file again with `skip={item: cause}`; that unit becomes
    a Reject with the reason "timeout" (or "reader_died", if the cause begins with "died"), and is not read again.

    Raises:
        ConfigurationError: `options.encoding` is not the name of an encoding.
    """
    if "" in skip:
        yield abandoned_unit(file.name, "", skip[""], "Save it again in its own program, or split it, then retry.")
        return
    at("")
    yield from file_errors_as_rejects(file, _read(file, options, skip, at))


def _read(
    file: SourceFile, options: DocumentOptions, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Document | Reject]:
    form = format_of(file.name)
    if form in {"json_lines", "csv", "tsv", "parquet"}:
        from millrace.tasks.documents.record_files import read_records

        yield from read_records(file, form, options, skip=skip, at=at)
        return
    if form == "pdf":
        yield from _read_pdf(file, options, skip, at)
        return
    data = read_source(file)
    digest = hashlib.sha256(data).hexdigest()
    if data.startswith(b"%PDF-"):
        raise Rejected("The file is a PDF by its content.", reason="binary", remedy="Give it the suffix .pdf.")
    if form == "html":
        from millrace.tasks.documents.html import declared_charset

        text = decode(data, forced=options.encoding, declared=declared_charset(data))
    else:
        text = decode(data, forced=options.encoding, declared=editor_declared_encoding(data))
    del data  # a 200 MB file should not be in memory twice while its text is extracted
    yield document_of(file, _extracted(form, text), digest)


def _read_pdf(
    file: SourceFile, options: DocumentOptions, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Document | Reject]:
    digest, items = _pdf_contents(file, options, skip, at)  # the file is closed before the pages are used
    for item in items:
        yield item if isinstance(item, Reject) else document_of(file, item, digest)


def _pdf_contents(
    file: SourceFile, options: DocumentOptions, skip: Mapping[str, str], at: Callable[[str], None]
) -> tuple[str, list[Extraction | Reject]]:
    from millrace.tasks.documents.pdf.open_file import close_file, open_file
    from millrace.tasks.documents.pdf.reader import read_pdf

    try:
        opened, minimum = open_file(file, options.pdf_engine), options.min_page_characters
        return opened.digest, list(read_pdf(opened.pdf, file.name, min_page_characters=minimum, skip=skip, at=at))
    finally:
        close_file()


def _extracted(form: Format, text: str) -> Extraction:
    if form == "html":
        from millrace.tasks.documents.html import read_html

        return read_html(text)
    from millrace.tasks.documents.markup import read_markdown, read_restructured, read_text, readable

    text = readable(text)
    match form:
        case "markdown":
            return read_markdown(text)
        case "restructured":
            return read_restructured(text)
        case _:
            return read_text(text)
