"""Record files to documents: JSON Lines, CSV, TSV and Parquet, one document a row.

Memory does not grow with the file, but for 8 bytes of each id, which serve to find ids that come twice. A row that
cannot be taken is a Reject of item "row N" (from 1, a header not counted), under the name of its document where its id
is known, else under that of the file; a file none of whose rows has the text column is one Reject.
"""

import datetime as dt
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from millrace.tasks.documents.delimited import WRITE_ROW_AGAIN
from millrace.tasks.documents.formats import Format, abandoned_unit
from millrace.tasks.documents.invisible import has_visible_text
from millrace.tasks.documents.options import DocumentOptions
from millrace.tasks.documents.record_rows import BadValue, Row, first_names, rows_of
from millrace.tasks.errors import Rejected
from millrace.tasks.records import METADATA_MAX_BYTES, Chunk, Document, JsonValue, Reject, SourceFile, metadata_json

ROWS_PER_UNIT = 5000
"""Rows between two calls of `at`: a unit that a deadline is for."""

_MAX_ROWS_WITHOUT_TEXT = 100
_EXACT_FLOATS = 2**53  # above it not every whole number is a float


def read_records(
    file: SourceFile, form: Format, options: DocumentOptions, *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Document | Reject]:
    """A Document or a Reject for each row; nothing for a table without rows.

    Raises:
        Rejected: the file as a whole is no such file, or none of its rows has the text column.
        OSError: it cannot be read.
    """
    options = replace(options, text_column=options.text_columns(file.name))  # the globs are looked at once a file
    without_text: list[Reject] | None = []  # until one row shows that the columns are right
    for result in _results(file, form, options, skip, at):
        if without_text is None:
            yield result
        elif isinstance(result, Reject) and result.reason == "missing_text":
            without_text.append(result)
            if len(without_text) == _MAX_ROWS_WITHOUT_TEXT:
                raise _no_text_column(without_text, file, options)
        else:
            yield from without_text
            yield result
            without_text = None
    if without_text:
        raise _no_text_column(without_text, file, options)


def _results(
    file: SourceFile, form: Format, options: DocumentOptions, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Document | Reject]:
    """One result a row, but one for all the rows of a unit that was given up."""
    number = 0

    def beat() -> None:
        if (item := f"row {number + 1}") not in skip:
            at(item)

    rows = rows_of(file, form, options, beat)
    seen: set[int] = set()
    while True:
        first, item = number + 1, f"row {number + 1}"
        cause = skip.get(item)
        beat()
        for row in islice(rows, ROWS_PER_UNIT):
            number += 1
            if cause is None:
                yield _result(row, number, file, options, seen)
        if cause is not None:
            remedy = f"Look for an enormous value in rows {first} to {number}, take it out, and retry."
            yield abandoned_unit(file.name, item, cause, remedy)
        if number < first + ROWS_PER_UNIT - 1:
            return


def _no_text_column(without_text: list[Reject], file: SourceFile, options: DocumentOptions) -> Rejected:
    columns = " or ".join(map(repr, options.text_columns(file.name)))
    return Rejected(
        f"No row has text in the column {columns}; the first: {without_text[0].message}",
        reason="missing_column",
        remedy="Name the column that holds the text with `documents.text_column`.",
    )


def _result(
    row: Row | Rejected, number: int, file: SourceFile, options: DocumentOptions, seen: set[int]
) -> Document | Reject:
    try:
        if isinstance(row, Rejected):
            raise row
        return _document(row, number, file, options, seen)
    except Rejected as refused:
        reason, message, remedy = refused.reason, str(refused), refused.remedy
    except (ValueError, ArithmeticError, RecursionError) as error:  # too deep or too large for JSON
        reason, message, remedy = "bad_value", f"A value cannot be stored as JSON: {error}.", WRITE_ROW_AGAIN
    source = _name_of_refused(row, number, file, options, seen)
    return Reject("read", source, f"row {number}", reason, message, remedy)


def _name_of_refused(
    row: Row | Rejected, number: int, file: SourceFile, options: DocumentOptions, seen: set[int]
) -> str:
    """The document that a refused row was to be, whose earlier version then stays; the file where that is not known."""
    if isinstance(row, Rejected):
        return file.name
    try:
        key = _id_of(row, number, options)
        return file.name if _short(key) in seen else f"{file.name}#{key}"
    except (Rejected, UnicodeEncodeError):
        return file.name


def _document(row: Row, number: int, file: SourceFile, options: DocumentOptions, seen: set[int]) -> Document:
    """The document of a row.

    Raises:
        Rejected: "missing_text", "missing_id", "duplicate_id", "binary", "bad_unicode", "bad_value" or
            "metadata_too_long".
    """
    for name in (*options.text_columns(file.name), options.id_column, options.title_column, *options.metadata_columns):
        if isinstance(value := row.get(name), BadValue):
            raise Rejected(
                f"The value of the column {name!r} {value.message}.",
                reason="bad_unicode" if "UTF-8" in value.message else "bad_value",
                remedy=WRITE_ROW_AGAIN,
            )
    text = _text_of(row, options.text_columns(file.name))
    key = _id_of(row, number, options)
    title = _as_text(row.get(options.title_column))
    extra = {name: _json_value(row[name]) for name in options.metadata_columns if name in row}
    heading = title.strip()
    used: dict[str, JsonValue] = {"id": key, "title": heading, "text": text, "metadata": extra}
    try:
        canonical = json.dumps(used, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise Rejected(
            "A value holds bytes that are no text (or half a character).", reason="bad_unicode", remedy=WRITE_ROW_AGAIN
        ) from error
    fingerprint = _short(key)
    if fingerprint in seen:
        raise Rejected(
            f"The id {key!r} occurs before.", reason="duplicate_id", remedy="Make the ids of a file's rows unique."
        )
    document = Document(
        source=f"{file.name}#{key}",
        text=text,
        title=heading or key,
        document_hash=hashlib.sha256(canonical).hexdigest(),
        extra=extra,
    )
    if len(canonical) * 2 > METADATA_MAX_BYTES:
        _check_metadata(document, options)
    seen.add(fingerprint)
    return document


def _check_metadata(document: Document, options: DocumentOptions) -> None:
    """Refuse a row whose metadata the collection could not hold, before its text is embedded."""
    last = len(document.text)
    chunk = Chunk(
        id="", source=document.source, content="", start=last, end=last, number=last, tokens=last, page_start=None,
        page_end=None, heading_path=(), title=document.title, document_hash=document.document_hash,
        extra=document.extra,
    )  # fmt: skip
    metadata = chunk.metadata()
    size = len(metadata_json(metadata).encode())
    if size <= METADATA_MAX_BYTES:
        return
    longest = max(metadata, key=lambda name: len(json.dumps(metadata[name], ensure_ascii=False)))
    settings = {"title": "documents.title_column", "source": "documents.id_column"}
    columns = {"title": options.title_column, "source": options.id_column}
    setting = settings.get(longest, "documents.metadata_columns")
    raise Rejected(
        f"The metadata of the row has {size:,} bytes of JSON, where the collection holds {METADATA_MAX_BYTES:,}; most"
        f" of it is the column {columns.get(longest, longest)!r}.",
        reason="metadata_too_long",
        remedy=f"Shorten that value, or leave the column out of `{setting}`.",
    )


def _short(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


def _text_of(row: Row, columns: tuple[str, ...]) -> str:
    """The text of a row: that of its column, or those of several, each after its column's name."""
    texts = {name: text for name in columns if (text := _as_text(row.get(name))) and has_visible_text(text)}
    if not texts:
        have = {type(row.get(name)).__name__ for name in columns if not isinstance(row.get(name), str)}
        raise Rejected(
            f"The column {' or '.join(map(repr, columns))} holds no text but"
            f" {', '.join(sorted(have)) or 'nothing but white space'}; columns: {first_names(row)}.",
            reason="missing_text",
            remedy="Fill it in, remove the row, or name another column with `documents.text_column`.",
        )
    text = texts[columns[0]] if len(columns) == 1 else "\n\n".join(f"{name}: {text}" for name, text in texts.items())
    if "\0" in text:
        raise Rejected(
            "The text holds NUL characters (U+0000).",
            reason="binary",
            remedy="Remove them: they come from binary data.",
        )
    return text


def _as_text(value: object) -> str:
    """The text that a value is; "" for a value of another kind. Bytes are text that a program did not mark as such.

    Raises:
        Rejected: "bad_unicode": they are bytes that are not UTF-8.
    """
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise Rejected(
                f"A value is stored as bytes that are not UTF-8: {error}.", reason="bad_unicode", remedy=WRITE_ROW_AGAIN
            ) from error
    return value if isinstance(value, str) else ""


def _id_of(row: Row, number: int, options: DocumentOptions) -> str:
    """The row's id; its number where the file has no id column.

    An id that is a float without a fraction is the whole number that it was: so pandas writes a column with gaps.
    """
    if options.id_column not in row:
        return str(number)
    identity = row[options.id_column]
    if isinstance(identity, bytes):
        identity = _as_text(identity)
    if isinstance(identity, float) and identity.is_integer() and abs(identity) < _EXACT_FLOATS:
        identity = int(identity)
    if isinstance(identity, bool) or not isinstance(identity, str | int) or identity == "":
        raise Rejected(
            f"The id column {options.id_column!r} holds {identity!r:.100}, neither text nor a whole number.",
            reason="missing_id",
            remedy="Give the row an id, or name another column with `documents.id_column`.",
        )
    return str(identity)


def _json_value(value: Any) -> JsonValue:
    """A column's value as JSON has it: dates in ISO 8601, bytes in hex, NaN and infinities null, the rest as text."""
    match value:
        case float():
            result: JsonValue = value if math.isfinite(value) else None
        case None | str() | bool() | int():
            result = value
        case list() | tuple():
            result = [_json_value(v) for v in value]
        case dict():
            result = {str(k): _json_value(v) for k, v in value.items()}
        case dt.date() | dt.time():
            result = value.isoformat()
        case bytes():
            result = value.hex()
        case _:
            result = str(value)
    return result
