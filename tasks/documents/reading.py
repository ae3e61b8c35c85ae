"""Read one file, whatever its format: the entry point to the readers."""

import hashlib
import importlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO

from millrace.tasks.documents.encoding import decode, editor_declared_encoding
from millrace.tasks.documents.external import ExternalCommand, run, working_folder
from millrace.tasks.documents.file_kinds import HEAD_BYTES
from millrace.tasks.documents.formats import (
    PICTURES,
    Extraction,
    Format,
    LeftOutMember,
    Member,
    Reader,
    abandoned_unit,
    document_of,
    file_errors_as_rejects,
    format_by_content,
    format_of,
    known_format,
)
from millrace.tasks.documents.member_budget import MemberBudget
from millrace.tasks.documents.options import DocumentOptions
from millrace.tasks.documents.parsed import NOTHING_KEPT, ParsedFiles, read_once
from millrace.tasks.documents.recognition import NOT_RECOGNIZED
from millrace.tasks.documents.source_bytes import open_source, read_source
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Document, LeftOut, Reject, SourceFile

_SKIP_NONE: Mapping[str, str] = {}
_MAX_DEPTH = 4  # an attachment in a mail in an archive in an archive
_FILES_OF_FILES = {"mbox", "zip", "tar", "gzip"}  # each file in them may be slow, and is kept by itself
_Item = Document | LeftOutMember | Reject


def _no_deadline(item: str) -> None:
    """The default for `at`, where units have no deadline."""


def read_documents(
    file: SourceFile,
    options: DocumentOptions,
    *,
    skip: Mapping[str, str] = _SKIP_NONE,
    at: Callable[[str], None] = _no_deadline,
    parsed: ParsedFiles = NOTHING_KEPT,
) -> Iterator[Document | LeftOutMember | Reject]:
    """The documents of one file, and a Reject for each part of it that could not be read.

    A record file gives one document for each row (`source` is the file's name, "#" and the row's id), a file that holds
    others one or more for each of those ("#" and its name within), any other file at most one. A fault of the file
    itself is a Reject with item "", never an exception.
    A file within it that no reader takes, or that would be left out in a folder, comes as a LeftOutMember.

    `at(item)` is called before each unit that could take too long ("" for opening, "page 7", "outline", "row 12000",
    "attached.pdf#page 7").
    A caller that had to kill the reader during a unit reads the file again with `skip={item: cause}`; that unit becomes
    a Reject with the reason "timeout" (or "reader_died", if the cause begins with "died"), and is not read again.

    What took long to parse, or was parsed by a command of the user's, is kept in `parsed` and taken from there.

    Raises:
        ConfigurationError: `options.encoding` is not the name of an encoding.
    """
    yield from _documents(
        _Reading(file, format_of(file.name), options, skip, at, parsed, MemberBudget(file.size_bytes))
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """A file and how it is to be read; `depth` is the number of files that it lies in."""

    file: SourceFile
    form: Format
    options: DocumentOptions
    skip: Mapping[str, str]
    at: Callable[[str], None]
    parsed: ParsedFiles
    budget: MemberBudget
    depth: int = 0


def _documents(reading: _Reading) -> Iterator[_Item]:
    file, skip = reading.file, reading.skip
    if "" in skip:
        yield abandoned_unit(file.name, "", skip[""], "Save it again in its own program, or split it, then retry.")
        return
    reading.at("")
    yield from file_errors_as_rejects(file, _opened(reading))


def _opened(reading: _Reading) -> Iterator[_Item]:
    """The contents; the file is opened when the first of them is asked for."""
    yield from _contents(reading)


def _contents(reading: _Reading) -> Iterator[_Item]:
    """What the file holds, read as what it is: by the user's command, by its first bytes, or by its name."""
    file, skip, at = reading.file, reading.skip, reading.at
    if (command := reading.options.external_for(file.name)) is not None:
        return _read_external(reading, command)
    with open_source(file) as opened:
        form = format_by_content(opened.read(HEAD_BYTES), reading.form)
    reading = replace(reading, form=form)
    if form in {"json_lines", "csv", "tsv", "parquet"} or (form == "sheets" and reading.options.sheets == "records"):
        from millrace.tasks.documents.record_files import read_records

        return read_records(file, form, reading.options, skip=skip, at=at)
    if form == "pdf":
        return _kept_if_slow(reading, _read_pdf(reading))
    if form == "picture" and not (reading.options.ocr == "all" and reading.options.may_recognize):
        return _kept_if_slow(reading, _picture_not_read(reading))
    if (reader := _reader_of(form, reading.budget)) is not None:
        items = _read_binary(reading, reader)
        return items if form in _FILES_OF_FILES else _kept_if_slow(reading, items)
    return _read_text(file, form, reading.options)


def _kept_if_slow(reading: _Reading, items: Iterator[_Item]) -> Iterator[_Item]:
    """The items, or what was kept of them; a part that had to be left out this time may be read another time."""
    if reading.skip:
        return items
    always = reading.form == "picture"
    return read_once(reading.file, items, reading.parsed, lambda: reading.at(""), always=always)


def _picture_not_read(reading: _Reading) -> Iterator[Reject]:
    """Why a picture file is not looked at: it is not wanted at all, or not now."""
    reason, message = "unsupported_format", "The file is a picture, in which text is recognized only if that is set."
    if reading.options.ocr == "all":
        reason, message = NOT_RECOGNIZED, "The text in the picture is to be recognized."
    yield Reject("read", reading.file.name, "page 1", reason, message, 'Set documents.ocr = "all", or leave it out.')


def _read_external(reading: _Reading, command: ExternalCommand) -> Iterator[_Item]:
    """What millrace reads of the command's output, under the name and the hash of the file itself."""
    file, parsed = reading.file, reading.parsed
    with working_folder() as folder:
        source = folder / f"document{command.suffix}"
        with open_source(file) as opened, source.open("wb") as copy:
            shutil.copyfileobj(opened, copy)
        with source.open("rb") as copied:
            digest = hashlib.file_digest(copied, "sha256").hexdigest()
        identity = "external", digest, command.command, command.version
        if (kept := parsed.recall(*identity)) is None:
            made = run(
                command, source, folder, timeout_s=reading.options.external_timeout_s, beat=lambda: reading.at("")
            )
            kept = made.suffix.encode() + b"\0" + made.read_bytes()
            parsed.keep(kept, *identity)
    suffix, _, content = kept.partition(b"\0")
    with tempfile.TemporaryFile() as output:
        output.write(content)
        del kept, content
        size_bytes, path = output.tell(), _path_of_open(output)
        inner = replace(
            reading,
            file=file._replace(path=path, size_bytes=size_bytes, within=""),
            form=format_of(f"document{suffix.decode()}"),
            options=replace(reading.options, external=()),
        )
        for item in _documents(inner):
            if isinstance(item, Document) and item.source == file.name:
                yield replace(item, document_hash=digest)
            else:
                yield item


_READERS: dict[Format, str] = {
    "picture": "picture_file.read_picture",
    "docx": "office.docx.read_docx",
    "sheets": "office.sheets.read_sheets",
    "pptx": "office.slides.read_slides",
    "odf": "office.odf.read_odf",
    "rtf": "office.rtf.read_rtf",
    "epub": "office.epub.read_epub",
    "eml": "mail.message.read_mail",
    "mbox": "mail.mailbox.read_mailbox",
    "outlook": "mail.outlook.read_outlook",
    "zip": "archives.zip_archive.read_zip",
    "tar": "archives.tar_archive.read_tar",
    "gzip": "archives.tar_archive.read_gzip",
}
"""The readers of binary formats, below this package; each, with its library, is imported when it is first needed."""

_ARCHIVES = frozenset[Format](["zip", "tar", "gzip"])


def _reader_of(form: Format, budget: MemberBudget) -> Reader | None:
    """The reader of a binary format; None for the formats of text."""
    if form not in _READERS:
        return None
    module, _, name = _READERS[form].rpartition(".")
    reader = getattr(importlib.import_module(f"{__package__}.{module}"), name)
    made: Reader = partial(reader, budget=budget) if form in _ARCHIVES else reader
    return made


def _read_binary(reading: _Reading, reader: Reader) -> Iterator[_Item]:
    is_empty = True
    for found in _binary_contents(reading, reader):
        is_empty = is_empty and isinstance(found, LeftOutMember)
        yield found
    if is_empty:
        raise Rejected(
            "The file holds neither text nor a file that a reader takes.",
            reason="no_text",
            remedy="Nothing to do, unless text was expected; name it in `sources.exclude` to leave it out.",
        )


def _binary_contents(reading: _Reading, reader: Reader) -> Iterator[_Item]:
    file = reading.file
    with open_source(file) as opened:
        if not opened.read(1):
            raise Rejected("The file holds 0 bytes.", reason="empty", remedy="Remove it, or write it again.")
        opened.seek(0)
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
        opened.seek(0)
        for item in reader(opened, file.name, skip=reading.skip, at=reading.at):
            match item:
                case Extraction():
                    yield from file_errors_as_rejects(file, _document(file, item, digest))
                case Member():
                    yield from _read_member(item, reading)
                case _:
                    yield item


def _read_member(member: Member, outer: _Reading) -> Iterator[_Item]:
    """The documents of a file within another; its units are called after it."""
    name, prefix, content = f"{outer.file.name}#{member.name}", f"{member.name}#", member.content
    suffix = PurePosixPath(member.name).suffix.lower()
    form = member.format or known_format(member.name)
    if form is None and suffix in PICTURES and outer.options.ocr == "all":
        form = "picture"
    with ExitStack() as stack:
        if not callable(content):
            stack.enter_context(content)
        if form is None and outer.options.external_for(name) is None:
            yield LeftOutMember(name, LeftOut({suffix: 1}))
        elif outer.depth == _MAX_DEPTH:
            raise Rejected(
                f"It holds files, and lies in a file in a file, {_MAX_DEPTH} deep: those in it were not read.",
                reason="too_deep",
                remedy="Unpack the outermost file into the source.",
            )
        elif prefix in outer.skip:
            yield abandoned_unit(name, "", outer.skip[prefix], "Unpack it, and look at it alone.")
        else:
            outer.at(prefix)
            try:
                opened = stack.enter_context(content()) if callable(content) else content
            except Rejected as refused:
                if refused.reason == "too_large":
                    raise  # of the file that it lies in
                yield Reject("read", name, "", refused.reason, str(refused), refused.remedy)
                return
            outer.budget.take_member()
            inner = SourceFile(_path_of_open(opened), name, opened.seek(0, 2), outer.file.mtime_ns)
            yield from _documents(_reading_of_member(inner, form or "text", prefix, outer))


def _reading_of_member(file: SourceFile, form: Format, prefix: str, outer: _Reading) -> _Reading:
    return replace(
        outer,
        file=file,
        form=form,
        skip={item.removeprefix(prefix): cause for item, cause in outer.skip.items() if item.startswith(prefix)},
        at=lambda item: outer.at(prefix + item),
        depth=outer.depth + 1,
    )


def _path_of_open(content: BinaryIO) -> str:
    """A path under which this process can open a file that has no name: nothing is left of it, however it ends."""
    content.flush()
    content.seek(0)
    return f"/dev/fd/{content.fileno()}"


def _read_text(file: SourceFile, form: Format, options: DocumentOptions) -> Iterator[Document]:
    data = read_source(file)
    digest = hashlib.sha256(data).hexdigest()
    if form in {"html", "xml"}:
        from millrace.tasks.documents.html import declared_charset

        text = decode(data, forced=options.encoding, declared=declared_charset(data))
    else:
        text = decode(data, forced=options.encoding, declared=editor_declared_encoding(data))
    del data  # a 200 MB file should not be in memory twice while its text is extracted
    yield document_of(file, _extracted(form, text), digest)


def _read_pdf(reading: _Reading) -> Iterator[Document | Reject]:
    digest, items = _pdf_contents(reading)  # the file is closed before the pages are used
    for item in items:
        yield item if isinstance(item, Reject) else document_of(reading.file, item, digest)


def _pdf_contents(reading: _Reading) -> tuple[str, list[Extraction | Reject]]:
    from millrace.tasks.documents.pdf.open_file import close_file, open_file
    from millrace.tasks.documents.pdf.page_ranges import pages_of
    from millrace.tasks.documents.pdf.reader import join_pages

    file, options, skip, at = reading.file, reading.options, reading.skip, reading.at
    try:
        opened = open_file(file, options.pdf_engine)
        numbers = range(1, opened.pdf.page_count + 1)
        read = pages_of(opened, file, options, numbers, skip=skip, at=at, parsed=reading.parsed)
        return opened.digest, list(join_pages([read], file.name, skip=skip, at=at))
    finally:
        close_file()


def _extracted(form: Format, text: str) -> Extraction:
    if form == "html":
        from millrace.tasks.documents.html import read_html

        return read_html(text)
    from millrace.tasks.documents import markup

    if form == "notebook":
        return markup.read_notebook(text)
    readers: dict[Format, Callable[[str], Extraction]] = {
        "markdown": markup.read_markdown,
        "restructured": markup.read_restructured,
        "subtitles": markup.read_subtitles,
        "xml": markup.read_xml,
    }
    return readers.get(form, markup.read_text)(markup.readable(text))


def _document(file: SourceFile, extraction: Extraction, digest: str) -> Iterator[Document]:
    yield document_of(file, extraction, digest)
