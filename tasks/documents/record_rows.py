"""The rows of record files (JSON Lines, CSV, TSV, Parquet), one after the other, whatever the format.

Rows are streamed. A row that cannot be read comes as a refusal; a value that Python cannot hold comes as its text, or
as a `BadValue` that costs its row alone. `beat` is called while a large file is looked through before its first row, so
that a caller with a deadline knows that it goes on.
"""

import codecs
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from millrace.tasks.documents.delimited import Lines, malformed, read_header, read_rows
from millrace.tasks.documents.encoding import detect, marked_codec, required_codec, telling_sample, unmarked_utf16
from millrace.tasks.documents.file_kinds import kind_of
from millrace.tasks.documents.formats import Format
from millrace.tasks.documents.options import DocumentOptions
from millrace.tasks.documents.source_bytes import open_source
from millrace.tasks.errors import Rejected
from millrace.tasks.records import SourceFile

if TYPE_CHECKING:
    import pyarrow as pa

Row: TypeAlias = Mapping[str, Any]
Beat: TypeAlias = Callable[[], None]

_PARQUET_BATCH_ROWS = 500
_SAMPLE_BYTES = 1 << 22
_BLOCKS_PER_BEAT = 16
_MAX_OBJECT_LINES = 10_000


@dataclass(frozen=True, slots=True)
class BadValue:
    """Stands in a row for a value that cannot be read, and says why."""

    message: str


def rows_of(
    file: SourceFile, form: Format, options: DocumentOptions, beat: Beat = lambda: None
) -> Iterator[Row | Rejected]:
    """The rows of a record file; none of a table that has columns and no rows.

    Raises:
        Rejected: the file as a whole is no such file, is empty, or lacks the text column.
        OSError: it cannot be read.
    """
    match form:
        case "json_lines":
            return _json_rows(file, options, beat)
        case "parquet":
            return _parquet_rows(file, options)
        case "sheets":
            return _sheet_rows(file, beat)
        case _:
            return _delimited_rows(file, options, beat, is_tsv=form == "tsv")


def _sheet_rows(file: SourceFile, beat: Beat) -> Iterator[Row | Rejected]:
    from millrace.tasks.documents.office.sheets import sheet_records

    with open_source(file) as opened:
        yield from sheet_records(opened, file.name, lambda _sheet: beat())


def first_names(columns: Iterable[str]) -> str:
    """The names of the first columns, in a length fit for a message."""
    return ", ".join(islice(columns, 20))[:300] or "none"


def _json_rows(file: SourceFile, options: DocumentOptions, beat: Beat) -> Iterator[Row | Rejected]:
    is_empty = True
    lines = Lines(_text_lines(file, options.encoding, beat))
    while (taken := lines.take()) is not None:
        line = taken.removeprefix("\ufeff")  # files that were joined have marks within
        if not line or line.isspace():
            continue
        if is_empty and line.strip() in {"[", "[{"}:
            raise Rejected(
                "The file is one JSON array over several lines, where each line should be an object.",
                reason="malformed_row",
                remedy="Write one object a line, for instance with `jq -c '.[]' in.json > out.jsonl`.",
            )
        is_empty = False
        yield _json_row(_whole_object(line, lines) if line.strip() == "{" else line)
    if is_empty:
        raise _empty()


def _json_row(text: str) -> Row | Rejected:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        return malformed(f"The line is no JSON: {error}.")
    if isinstance(row, dict):
        return row
    return malformed(f"The line is a JSON {type(row).__name__} where an object was expected.")


def _whole_object(first: str, lines: Lines) -> str:
    """The lines of an object that is written over several: the indented ones after its brace, and the closing brace."""
    gathered = [first]
    while len(gathered) < _MAX_OBJECT_LINES and (line := lines.take()) is not None:
        if line.rstrip() != "}" and line[:1] not in {" ", "\t"}:
            lines.put_back([line])
            break
        gathered.append(line)
        if line.rstrip() == "}":
            break
    return "".join(gathered)


def _delimited_rows(
    file: SourceFile, options: DocumentOptions, beat: Beat, *, is_tsv: bool
) -> Iterator[Row | Rejected]:
    columns = options.text_columns(file.name)
    lines = Lines(_text_lines(file, options.encoding, beat))
    header = read_header(lines, is_tsv=is_tsv, text_columns=columns, id_column=options.id_column)
    if header is None:
        raise _empty()
    _check_columns(header.names, file, options)
    for fields in read_rows(lines, header, is_tsv=is_tsv):
        yield fields if isinstance(fields, Rejected) else dict(zip(header.names, fields, strict=True))


def _check_columns(names: list[str], file: SourceFile, options: DocumentOptions) -> None:
    text_columns = options.text_columns(file.name)
    for column in text_columns:
        if column not in names:
            raise Rejected(
                f"The file has no column {column!r}; it has: {first_names(names)}.",
                reason="missing_column",
                remedy="Name the column that holds the text with `documents.text_column`.",
            )
    for name in (*text_columns, options.id_column):
        if names.count(name) > 1:
            raise Rejected(
                f"The column {name!r} occurs {names.count(name)} times.",
                reason="duplicate_column",
                remedy="Give each column a name of its own.",
            )


def _empty() -> Rejected:
    return Rejected(
        "The file holds no rows and no names of columns.",
        reason="empty",
        remedy="If rows were expected, write it again; if not, leave it out with `sources.exclude`.",
    )


def _text_lines(file: SourceFile, forced: str | None, beat: Beat) -> Iterator[str]:
    """The lines of a text file. Bytes that are no text in it become lone surrogates, which cost their row alone.

    Raises:
        Rejected: the encoding is unknown, or (UTF-16 and UTF-32) a part of the file does not decode.
    """
    with open_source(file) as binary:
        codec = _codec_of(binary, forced, beat)
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


def _codec_of(binary: BinaryIO, forced: str | None, beat: Beat) -> str:
    if forced:
        codec = required_codec(forced)
        return "utf-8-sig" if codec == "utf-8" else codec
    sample = binary.read(_SAMPLE_BYTES)
    if (marked := marked_codec(sample[:4])) is not None:
        return {"utf-8": "utf-8-sig"}.get(marked, marked[:6])  # the names whose decoders take the mark off
    if kind := kind_of(sample):
        raise Rejected(
            f"The file is {kind}, not text.",
            reason="binary",
            remedy="Unpack or convert it, or leave it out with `sources.exclude`.",
        )
    if sample.count(0) * 10 > len(sample):
        if (unmarked := unmarked_utf16(sample[: len(sample) // 2 * 2])) is not None:
            return unmarked
        raise Rejected(
            f"The file is not text: {sample.count(0):,} of its first {len(sample):,} bytes are NUL bytes (0x00).",
            reason="binary",
            remedy="Restore it from an undamaged copy, or convert it to UTF-8 text.",
        )
    decoder = codecs.getincrementaldecoder("utf-8")()
    block, blocks = sample, 0
    try:
        while block:
            decoder.decode(block)
            block, blocks = binary.read(_SAMPLE_BYTES), blocks + 1
            if blocks % _BLOCKS_PER_BEAT == 0:
                beat()
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


def _parquet_rows(file: SourceFile, options: DocumentOptions) -> Iterator[Row | Rejected]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_source(file) as binary, pq.ParquetFile(binary, pre_buffer=False) as table:
            names = table.schema_arrow.names
            _check_columns(names, file, options)
            text_columns = options.text_columns(file.name)
            wanted = {*text_columns, options.id_column, options.title_column, *options.metadata_columns}
            columns = [name for name in names if name in wanted]
            for batch in table.iter_batches(_PARQUET_BATCH_ROWS, columns=columns, use_threads=False):
                yield from _batch_rows(batch)
    except pa.ArrowException as error:
        raise Rejected(
            f"The Parquet file cannot be read on: {error}; the rows before, if any, are taken.",
            reason="damaged",
            remedy="Write the file again from its origin.",
        ) from error


_CONVERSION_ERRORS = (ValueError, TypeError, ArithmeticError, RecursionError, NotImplementedError)
"""What pyarrow raises for a value that Python cannot hold; its own ArrowInvalid is a ValueError."""


def _batch_rows(batch: "pa.RecordBatch") -> Iterator[Row]:
    """The rows of a batch; a value that cannot be converted is taken as text, or costs its row alone."""
    try:
        yield from batch.to_pylist()
    except _CONVERSION_ERRORS:
        for index in range(batch.num_rows):
            yield {name: _value(batch.column(name)[index]) for name in batch.schema.names}


def _value(scalar: "pa.Scalar") -> Any:
    import pyarrow as pa

    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return BadValue(f"is not UTF-8: {error}")
    except _CONVERSION_ERRORS as error:
        if pa.types.is_temporal(scalar.type):
            try:  # a time of nanoseconds, say
                return scalar.cast(pa.string()).as_py().replace(" ", "T", 1)
            except _CONVERSION_ERRORS:
                pass
        return BadValue(f"cannot be converted: {error}")
