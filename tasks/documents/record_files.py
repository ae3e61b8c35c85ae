"""Record files: JSON Lines, CSV, TSV and Parquet, one document a row.

Rows are streamed, so memory does not grow with the file; what it does keep is 8 bytes' worth of each id, to find ids
that come twice. A row that cannot be taken is a Reject of item "row N" (from 1, a header not counted), under the name
of its document where its id can be told, else under that of the file; a file none of whose rows has the text column is
one Reject.
"""

import datetime as dt
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from tasks.documents.extraction import given_up
from tasks.documents.formats import Format
from tasks.documents.record_rows import ROWS_OF, WRITE_ROW_AGAIN, Row, named
from tasks.errors import Rejected
from tasks.records import Document, JsonValue, Reject, SourceFile

if TYPE_CHECKING:
    from tasks.documents.reading import DocumentOptions

ROWS_PER_UNIT = 5000
"""Rows between two calls of `at`: a unit that a deadline is for."""

_HELD_REJECTS = 100


def read_records(
    file: SourceFile, form: Format, options: "DocumentOptions", *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Document | Reject]:
    """A Document or a Reject for each row.

    Raises:
        Rejected: the file as a whole is no such file, or none of its rows has the text column.
        OSError: it cannot be read.
    """
    held: list[Reject] | None = []  # until one row shows that the columns are right
    for result in _results(file, form, options, skip, at):
        if held is None:
            yield result
        elif isinstance(result, Reject) and result.reason == "missing_text":
            held.append(result)
            if len(held) == _HELD_REJECTS:
                raise _no_text_column(held, options)
        else:
            yield from held
            yield result
            held = None
    if held:
        raise _no_text_column(held, options)
    if held is not None:
        raise Rejected("The file holds no rows.", reason="empty", remedy="Remove it, or write it again.")


def _results(
    file: SourceFile, form: Format, options: "DocumentOptions", skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Document | Reject]:
    """One result a row, but one for all the rows of a unit that was given up."""
    rows = ROWS_OF[form](file.path, form, options)
    seen: set[int] = set()
    number = 0
    while True:
        first, item = number + 1, f"row {number + 1}"
        given_up_for = skip.get(item)
        if given_up_for is None:
            at(item)
        for row in islice(rows, ROWS_PER_UNIT):
            number += 1
            if given_up_for is None:
                yield _result(row, number, file, options, seen)
        if given_up_for is not None:
            remedy = f"Look for an enormous value in rows {first} to {number}, take it out, and retry."
            yield given_up(file.name, item, given_up_for, remedy)
        if number < first + ROWS_PER_UNIT - 1:
            return


def _no_text_column(held: list[Reject], options: "DocumentOptions") -> Rejected:
    return Rejected(
        f"No row has text in the column {options.text_column!r}; the first: {held[0].message}",
        reason="missing_column",
        remedy="Name the column that holds the text with `documents.text_column`.",
    )


def _result(
    row: Row | Rejected, number: int, file: SourceFile, options: "DocumentOptions", seen: set[int]
) -> Document | Reject:
    try:
        if isinstance(row, Rejected):
            raise row
        return _document(row, number, file, options, seen)
    except Rejected as refused:
        source = _name_of_refused(row, number, file, options, seen)
        return Reject("read", source, f"row {number}", refused.reason, str(refused), refused.remedy)


def _name_of_refused(
    row: Row | Rejected, number: int, file: SourceFile, options: "DocumentOptions", seen: set[int]
) -> str:
    """The document that a refused row was to be, whose earlier version then stays; the file where that is not known."""
    if isinstance(row, Rejected):
        return file.name
    try:
        key = _id_of(row, number, options)
        return file.name if _short(key) in seen else f"{file.name}#{key}"
    except (Rejected, UnicodeEncodeError):
        return file.name


def _document(row: Row, number: int, file: SourceFile, options: "DocumentOptions", seen: set[int]) -> Document:
    """The document of a row.

    Raises:
        Rejected: "missing_text", "missing_id", "duplicate_id", "binary" or "bad_unicode".
    """
    text = _text_of(row, options)
    key = _id_of(row, number, options)
    title = row.get(options.title_column)
    extra = {name: _json_value(row[name]) for name in options.metadata_columns if name in row}
    heading = title.strip() if isinstance(title, str) else ""
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
    seen.add(fingerprint)
    return Document(
        source=f"{file.name}#{key}",
        text=text,
        title=heading or key,
        document_hash=hashlib.sha256(canonical).hexdigest(),
        extra=extra,
    )


def _short(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


def _text_of(row: Row, options: "DocumentOptions") -> str:
    text = row.get(options.text_column)
    if not isinstance(text, str) or not text or text.isspace():
        have = "nothing but white space" if isinstance(text, str) else type(text).__name__
        raise Rejected(
            f"The column {options.text_column!r} holds no text but {have}; columns: {named(row)}.",
            reason="missing_text",
            remedy="Fill it in, remove the row, or name another column with `documents.text_column`.",
        )
    if "\0" in text:
        raise Rejected("The text holds zero bytes.", reason="binary", remedy="Remove them: they come from binary data.")
    return text


def _id_of(row: Row, number: int, options: "DocumentOptions") -> str:
    """The row's id; its number where the file has no id column."""
    if options.id_column not in row:
        return str(number)
    identity = row[options.id_column]
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
