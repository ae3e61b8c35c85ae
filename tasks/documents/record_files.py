"""Record files: JSON Lines, CSV, TSV and Parquet, one document a row.

Rows are streamed, so memory does not grow with the file; what it does keep is 8 bytes' worth of each id, to find ids
that come twice. A row that cannot be taken is a Reject of item "row N" (from 1, a header not counted), under the name
of its document where its id can be told, else under that of the file; a file none of whose rows has the text column is
one Reject.

The rows of record files, one after the other, whatever the format.
"""

import codecs
import csv
import datetime as dt
import hashlib
import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from millrace.tasks.documents.encoding import detect, marked_codec, required_codec, telling_sample
from millrace.tasks.documents.formats import Format, abandoned_unit
from millrace.tasks.documents.options import DocumentOptions
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Document, JsonValue, Reject, SourceFile

if TYPE_CHECKING:
    import pyarrow as pa

    from millrace.tasks.documents.options import DocumentOptions


Row: TypeAlias = Mapping[str, Any]

WRITE_ROW_AGAIN = "Correct the row, or write the file again, as UTF-8, with a program that quotes its values."

_PARQUET_BATCH_ROWS = 500
_SAMPLE_BYTES = 1 << 22


def named(columns: Iterable[str]) -> str:
    """The names of the first columns, in a length fit for a message."""
    return ", ".join(islice(columns, 20))[:300] or "none"


def _json_rows(path: str, form: Format, options: DocumentOptions) -> Iterator[Row | Rejected]:
    for line in _text_lines(path, options.encoding):
        if not line or line.isspace():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield _malformed(f"The line is no JSON: {error}.")
            continue
        yield (
            row
            if isinstance(row, dict)
            else _malformed(f"The line is a JSON {type(row).__name__} where an object was expected.")
        )


def _delimited_rows(path: str, form: Format, options: DocumentOptions) -> Iterator[Row | Rejected]:
    csv.field_size_limit(sys.maxsize)
    lines = _text_lines(path, options.encoding)
    first_line = next(lines, "").removeprefix("\ufeff")
    if not first_line.strip():
        return
    delimiter = "\t" if form == "tsv" else _delimiter(first_line, _text_column(options))
    header = next(csv.reader([first_line], delimiter=delimiter), [])
    _check_columns(header, options)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        try:
            values = next(reader, None)
        except csv.Error as error:
            yield _malformed(f"The row is no {form.upper()}: {error}.")
            continue
        if values is None:
            return
        if values and len(values) != len(header):
            yield _malformed(f"The row has {len(values)} fields where the header has {len(header)}.")
        elif values:
            yield dict(zip(header, values, strict=True))


def _delimiter(header: str, text_column: str) -> str:
    """What separates the columns: a comma, unless the text column only shows with what other programs write."""
    return next((d for d in ",;\t|" if text_column in next(csv.reader([header], delimiter=d), [])), ",")


def _check_columns(names: list[str], options: DocumentOptions) -> None:
    if _text_column(options) not in names:
        raise Rejected(
            f"The file has no column {_text_column(options)!r}; it has: {named(names)}.",
            reason="missing_column",
            remedy="Name the column that holds the text with `documents.text_column`.",
        )
    for name in (_text_column(options), options.id_column):
        if names.count(name) > 1:
            raise Rejected(
                f"The column {name!r} occurs {names.count(name)} times.",
                reason="duplicate_column",
                remedy="Give each column a name of its own.",
            )


def _malformed(message: str) -> Rejected:
    return Rejected(message, reason="malformed_row", remedy=WRITE_ROW_AGAIN)


def _text_lines(path: str, forced: str | None) -> Iterator[str]:
    """The lines of a text file. Bytes that are no text in it become lone surrogates, which cost their row alone.

    Raises:
        Rejected: the encoding is unknown, or (UTF-16 and UTF-32) a part of the file does not decode.
    """
    with Path(path).open("rb") as binary:
        codec = _codec_of(binary, forced)
        binary.seek(0)
        errors = "strict" if codec.startswith(("utf-16", "utf-32")) else "surrogateescape"
        try:
            with io.TextIOWrapper(binary, encoding=codec, errors=errors, newline="") as text:
                yield from text
        except UnicodeDecodeError as error:
            raise Rejected(
                f"The file is not {codec} throughout: {error.reason}; the rows before are taken.",
                reason="unknown_encoding",
                remedy="Convert the file to UTF-8, or name its encoding with `documents.encoding`.",
            ) from error


def _codec_of(binary: IO[bytes], forced: str | None) -> str:
    if forced:
        codec = required_codec(forced)
        return "utf-8-sig" if codec == "utf-8" else codec
    head = binary.read(4)
    if (marked := marked_codec(head)) is not None:
        return {"utf-8": "utf-8-sig"}.get(marked, marked[:6])  # the names whose decoders take the mark off
    binary.seek(0)
    sample = binary.read(_SAMPLE_BYTES)
    if sample.count(0) * 10 > len(sample):
        raise Rejected("The file holds zero bytes.", reason="binary", remedy="Convert it to UTF-8 text.")
    binary.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()
    block = b""
    try:
        while block := binary.read(_SAMPLE_BYTES):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return _codec_of_sample(block)
    return "utf-8"


def _codec_of_sample(block: bytes) -> str:
    """The codec of a file of which this part is not UTF-8; UTF-8 all the same when a few stray bytes tell no other."""
    try:
        return detect(telling_sample(block))
    except Rejected:
        if block and sum(byte > 127 for byte in block) * 100 > len(block):
            raise
        return "utf-8"


def _parquet_rows(path: str, form: Format, options: DocumentOptions) -> Iterator[Row | Rejected]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False) as table:
            names = table.schema_arrow.names
            _check_columns(names, options)
            wanted = {_text_column(options), options.id_column, options.title_column, *options.metadata_columns}
            columns = [name for name in names if name in wanted]
            for batch in table.iter_batches(_PARQUET_BATCH_ROWS, columns=columns, use_threads=False):
                yield from _batch_rows(batch)
    except pa.ArrowException as error:
        raise Rejected(
            f"The Parquet file cannot be read on: {error}; the rows before, if any, are taken.",
            reason="damaged",
            remedy="Write the file again from its origin.",
        ) from error


def _batch_rows(batch: "pa.RecordBatch") -> Iterator[Row | Rejected]:
    """The rows of a batch; strings that are not UTF-8 cost their row alone."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            try:
                yield from batch.slice(index, 1).to_pylist()
            except UnicodeDecodeError as error:
                yield Rejected(f"A value is not UTF-8: {error}.", reason="bad_unicode", remedy=WRITE_ROW_AGAIN)


ROWS_OF: Mapping[str, Callable[[str, Format, DocumentOptions], Iterator[Row | Rejected]]] = {
    "json_lines": _json_rows,
    "csv": _delimited_rows,
    "tsv": _delimited_rows,
    "parquet": _parquet_rows,
}


ROWS_PER_UNIT = 5000
"""Rows between two calls of `at`: a unit that a deadline is for."""

_HELD_REJECTS = 100


def read_records(
    file: SourceFile, form: Format, options: DocumentOptions, *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Document | Reject]:
    """A Document or a Reject for each row.

    Raises:
        Rejected: the file as a whole is no such file, or none of its rows has the text column.
        OSError: it cannot be read.
    """
    options = replace(options, text_column=options.text_columns(file.name))
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
    file: SourceFile, form: Format, options: DocumentOptions, skip: Mapping[str, str], at: Callable[[str], None]
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
            yield abandoned_unit(file.name, item, given_up_for, remedy)
        if number < first + ROWS_PER_UNIT - 1:
            return


def _no_text_column(held: list[Reject], options: DocumentOptions) -> Rejected:
    return Rejected(
        f"No row has text in the column {_text_column(options)!r}; the first: {held[0].message}",
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
        source = _name_of_refused(row, number, file, options, seen)
        return Reject("read", source, f"row {number}", refused.reason, str(refused), refused.remedy)


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


def _text_column(options: DocumentOptions) -> str:
    """The column of this file's text, or the first of several."""
    return options.text_columns("")[0]


def _text_of(row: Row, options: DocumentOptions) -> str:
    text = row.get(_text_column(options))
    if not isinstance(text, str) or not text or text.isspace():
        have = "nothing but white space" if isinstance(text, str) else type(text).__name__
        raise Rejected(
            f"The column {_text_column(options)!r} holds no text but {have}; columns: {named(row)}.",
            reason="missing_text",
            remedy="Fill it in, remove the row, or name another column with `documents.text_column`.",
        )
    if "\0" in text:
        raise Rejected("The text holds zero bytes.", reason="binary", remedy="Remove them: they come from binary data.")
    return text


def _id_of(row: Row, number: int, options: DocumentOptions) -> str:
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
