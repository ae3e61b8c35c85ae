"""The rows of record files, one after the other, whatever the format."""

import codecs
import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from tasks.documents.codec_names import marked_codec, required_codec
from tasks.documents.encoding import detect, telling_sample
from tasks.documents.formats import Format
from tasks.errors import Rejected

if TYPE_CHECKING:
    import pyarrow as pa

    from tasks.documents.reading import DocumentOptions

Row: TypeAlias = Mapping[str, Any]

WRITE_ROW_AGAIN = "Correct the row, or write the file again, as UTF-8, with a program that quotes its values."

_PARQUET_BATCH_ROWS = 500
_SAMPLE_BYTES = 1 << 22


def named(columns: Iterable[str]) -> str:
    """The names of the first columns, in a length fit for a message."""
    return ", ".join(islice(columns, 20))[:300] or "none"


def _json_rows(path: str, form: Format, options: "DocumentOptions") -> Iterator[Row | Rejected]:
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


def _delimited_rows(path: str, form: Format, options: "DocumentOptions") -> Iterator[Row | Rejected]:
    csv.field_size_limit(sys.maxsize)
    lines = _text_lines(path, options.encoding)
    first_line = next(lines, "").removeprefix("\ufeff")
    if not first_line.strip():
        return
    delimiter = "\t" if form == "tsv" else _delimiter(first_line, options.text_column)
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


def _check_columns(names: list[str], options: "DocumentOptions") -> None:
    if options.text_column not in names:
        raise Rejected(
            f"The file has no column {options.text_column!r}; it has: {named(names)}.",
            reason="missing_column",
            remedy="Name the column that holds the text with `documents.text_column`.",
        )
    for name in (options.text_column, options.id_column):
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


def _parquet_rows(path: str, form: Format, options: "DocumentOptions") -> Iterator[Row | Rejected]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, pre_buffer=False) as table:
            names = table.schema_arrow.names
            _check_columns(names, options)
            wanted = {options.text_column, options.id_column, options.title_column, *options.metadata_columns}
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


ROWS_OF: Mapping[str, Callable[[str, Format, "DocumentOptions"], Iterator[Row | Rejected]]] = {
    "json_lines": _json_rows,
    "csv": _delimited_rows,
    "tsv": _delimited_rows,
    "parquet": _parquet_rows,
}
