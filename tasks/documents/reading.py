"""One file to documents: the only door to the formats."""

import hashlib
from collections.abc import Callable, Iterator, Mapping

from millrace.tasks.documents.encoding import cookie, decode
from millrace.tasks.documents.formats import Extraction, Format, document_of, format_of, given_up, refusals
from millrace.tasks.documents.listing import bytes_of
from millrace.tasks.documents.options import DocumentOptions
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Document, Reject, SourceFile

_NOTHING: Mapping[str, str] = {}


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
    data = bytes_of(file.path)
    digest = hashlib.sha256(data).hexdigest()
    if data.startswith(b"%PDF-"):
        raise Rejected("The file is a PDF by its content.", reason="binary", remedy="Give it the suffix .pdf.")
    if form == "html":
        from millrace.tasks.documents.html import declared_charset

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
    from millrace.tasks.documents.pdf.open_file import close_file, open_file
    from millrace.tasks.documents.pdf.reader import read_pdf

    try:
        opened, minimum = open_file(file, options.pdf_engine), options.min_page_characters
        return opened.digest, list(read_pdf(opened.pdf, file.name, min_page_characters=minimum, skip=skip, at=at))
    finally:
        close_file()


def _extracted(form: Format, text: str) -> Extraction:
    match form:
        case "markdown":
            from millrace.tasks.documents.markup import read_markdown

            return read_markdown(text)
        case "restructured":
            from millrace.tasks.documents.markup import read_restructured

            return read_restructured(text)
        case "html":
            from millrace.tasks.documents.html import read_html

            return read_html(text)
        case _:
            from millrace.tasks.documents.formats import read_text

            return read_text(text)
