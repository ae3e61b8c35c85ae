"""Record files: JSON Lines, CSV, TSV and Parquet, one document a row.

Rows are streamed, so memory does not grow with the file; what it does keep is 8 bytes' worth of each id, to find ids
that come twice. A row that cannot be taken is a Reject of item "row N" (from 1, a header not counted); a file none of
whose rows has the text column is one Reject.
"""

import codecs
import csv
import datetime
import decimal
import hashlib
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from tasks.documents.encoding import detect, known_codec, telling_sample
from tasks.documents.formats import Format
from tasks.errors import ConfigurationError, Rejected
from tasks.records import Document, JsonValue, Reject, SourceFile

if TYPE_CHECKING:
    from tasks.documents.reading import DocumentOptions

ROWS_PER_UNIT = 5000
"""Rows between two calls of `at`: a unit that a deadline is for."""

_PARQUET_BATCH_ROWS = 500
_SAMPLE_BYTES = 1 << 22
_HELD_REJECTS = 100

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _BadRow:
    """A row that could not be parsed."""

    reason: str
    message: str


def read_records(
    file: SourceFile, form: Format, options: "DocumentOptions", *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Document | Reject]:
    """A Document or a Reject for each row.

    Raises:
        Rejected: the file as a whole is no such file, or none of its rows has the text column.
        OSError: it cannot be read.
    """
    rows = {"json_lines": _json_rows, "parquet": _parquet_rows}.get(form, _delimited_rows)(file.path, form, options)
    seen: set[int] = set()
    held: list[Reject] | None = []  # until one row shows that the columns are right
    number = 0
    while True:
        item = f"row {number + 1}"
        given_up = skip.get(item)
        if given_up is None:
            at(item)
        unit = islice(rows, ROWS_PER_UNIT)
        first = number + 1
        for row in unit:
            number += 1
            if given_up is not None:
                continue
            result = _result(row, number, file, options, seen)
            if held is None:
                yield result
            elif isinstance(result, Reject) and result.reason == "missing_text" and len(held) < _HELD_REJECTS:
                held.append(result)
            elif isinstance(result, Reject) and result.reason == "missing_text":
                raise _no_text_column(held, options)
            else:
                yield from held
                yield result
                held = None
        if given_up is not None:
            yield Reject(
                "read", file.name, item, "timeout", f"Rows {first} to {number} were given up: {given_up}.",
                "Look for an enormous value among these rows, take it out, and retry.",
            )  # fmt: skip
            held = None
        if number < first + ROWS_PER_UNIT - 1:
            break
    if held:
        raise _no_text_column(held, options)
    if not number:
        raise Rejected("The file holds no rows.", reason="empty", remedy="Remove it, or write it again.")


def _no_text_column(held: list[Reject], options: "DocumentOptions") -> Rejected:
    return Rejected(
        f"No row has text in the column {options.text_column!r}; the first: {held[0].message}",
        reason="missing_column",
        remedy="Name the column that holds the text with `documents.text_column`.",
    )


def _result(
    row: Row | _BadRow, number: int, file: SourceFile, options: "DocumentOptions", seen: set[int]
) -> Document | Reject:
    def refused(reason: str, message: str, remedy: str) -> Reject:
        return Reject("read", file.name, f"row {number}", reason, message, remedy)

    if isinstance(row, _BadRow):
        return refused(
            row.reason, row.message, "Correct the row, or write the file again with a program that quotes it."
        )
    text = row.get(options.text_column)
    if not isinstance(text, str) or not text or text.isspace():
        have = "nothing but white space" if isinstance(text, str) else type(text).__name__
        columns = ", ".join(list(row)[:20])
        return refused(
            "missing_text", f"The column {options.text_column!r} holds no text but {have}; columns: {columns}.",
            "Fill it in, remove the row, or name another column with `documents.text_column`.",
        )  # fmt: skip
    if "\0" in text:
        return refused("binary", "The text holds zero bytes.", "Remove them: they come from binary data.")
    identity = row.get(options.id_column)
    if options.id_column in row and (isinstance(identity, float | list | dict | bool) or identity in (None, "")):
        return refused(
            "missing_id", f"The id column {options.id_column!r} holds {identity!r}, neither text nor a whole number.",
            "Give the row an id, or name another column with `documents.id_column`.",
        )  # fmt: skip
    key = str(identity) if options.id_column in row else str(number)
    fingerprint = int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
    if fingerprint in seen:
        return refused("duplicate_id", f"The id {key!r} occurs before.", "Make the ids of a file's rows unique.")
    title = row.get(options.title_column)
    used: dict[str, JsonValue] = {
        "id": key,
        "title": title if isinstance(title, str) else "",
        "text": text,
        "metadata": {name: _json_value(row[name]) for name in options.metadata_columns if name in row},
    }
    try:
        canonical = json.dumps(used, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return refused(
            "bad_unicode", "A value holds half a character (a lone surrogate).", "Write the row again as UTF-8."
        )
    seen.add(fingerprint)
    extra = used["metadata"]
    assert isinstance(extra, dict)
    return Document(
        source=f"{file.name}#{key}",
        text=text,
        title=used["title"] if isinstance(used["title"], str) and used["title"].strip() else key,
        document_hash=hashlib.sha256(canonical).hexdigest(),
        extra=extra,
    )


def _json_value(value: Any) -> JsonValue:  # noqa: ANN401
    """A column's value as JSON has it: dates in ISO 8601, decimals and bytes as text, NaN and infinities as null."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_json_value(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _json_value(v) for k, v in value.items()}
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _json_rows(path: str, form: Format, options: "DocumentOptions") -> Iterator[Row | _BadRow]:
    for line in _text_lines(path, options.encoding):
        if not line or line.isspace():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield _BadRow("malformed_row", f"The line is no JSON: {error}.")
            continue
        yield (
            row
            if isinstance(row, dict)
            else _BadRow("malformed_row", f"The line is a JSON {type(row).__name__} where an object was expected.")
        )


def _delimited_rows(path: str, form: Format, options: "DocumentOptions") -> Iterator[Row | _BadRow]:
    csv.field_size_limit(sys.maxsize)
    lines = _text_lines(path, options.encoding)
    header_line = next(lines, "")
    if form == "tsv":
        delimiter = "\t"
    else:
        found = [d for d in ",;\t|" if options.text_column in next(csv.reader([header_line], delimiter=d), [])]
        delimiter = found[0] if found else ","
    header = next(csv.reader([header_line], delimiter=delimiter), [])
    if options.text_column not in header:
        raise Rejected(
            f"The header has no column {options.text_column!r}; it has: {', '.join(header[:20])}.",
            reason="missing_column",
            remedy="Name the column that holds the text with `documents.text_column`.",
        )
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        try:
            values = next(reader, None)
        except csv.Error as error:
            yield _BadRow("malformed_row", f"The row is no {form.upper()}: {error}.")
            continue
        if values is None:
            return
        if not values:
            continue
        if len(values) != len(header):
            yield _BadRow("malformed_row", f"The row has {len(values)} fields where the header has {len(header)}.")
        else:
            yield dict(zip(header, values, strict=True))


def _text_lines(path: str, forced: str | None) -> Iterator[str]:
    """The lines of a text file, decoded strictly.

    Raises:
        Rejected: the encoding is unknown, or a later part of the file does not decode.
    """
    with open(path, "rb") as binary:
        codec = _codec_of(binary, forced)
        binary.seek(0)
        try:
            with io.TextIOWrapper(binary, encoding=codec, newline="") as text:
                yield from text
        except UnicodeDecodeError as error:
            raise Rejected(
                f"The file is not {codec} throughout: {error.reason} ({error.object[error.start]:#04x}); the rows before are taken.",
                reason="unknown_encoding",
                remedy="Convert the file to UTF-8, or name its encoding with `documents.encoding`.",
            ) from error


def _codec_of(binary: IO[bytes], forced: str | None) -> str:
    if forced:
        codec = known_codec(forced)
        if codec is None:
            raise ConfigurationError(f"`documents.encoding` is {forced!r}, which is no encoding known here.")
        return "utf-8-sig" if codec == "utf-8" else codec
    head = binary.read(4)
    for mark, codec in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return codec
    binary.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while block := binary.read(_SAMPLE_BYTES):
            if b"\0" in block:
                raise Rejected("The file holds zero bytes.", reason="binary", remedy="Convert it to UTF-8 text.")
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return detect(telling_sample(block))
    return "utf-8"


def _parquet_rows(path: str, form: Format, options: "DocumentOptions") -> Iterator[Row | _BadRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False) as table:
            names = table.schema_arrow.names
            if options.text_column not in names:
                raise Rejected(
                    f"The file has no column {options.text_column!r}; it has: {', '.join(names[:20])}.",
                    reason="missing_column",
                    remedy="Name the column that holds the text with `documents.text_column`.",
                )
            wanted = {options.text_column, options.id_column, options.title_column, *options.metadata_columns}
            for batch in table.iter_batches(
                _PARQUET_BATCH_ROWS, columns=[n for n in names if n in wanted], use_threads=False
            ):
                yield from batch.to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise Rejected(
            f"The Parquet file cannot be read on: {error}; the rows before are taken.",
            reason="damaged",
            remedy="Write the file again from its origin.",
        ) from error
