"""CSV and TSV: lines to rows, without letting one quote swallow the rows after it.

A CSV field in quotes may hold line breaks, so a quote that is the text's own, or is never closed, can turn any number
of rows into one. Such a record is recognized by its lines: each of them is a row by itself, with the right number of
fields and an id like that of the first. They are then read as rows, the quotes being text. A record that is no CSV
costs its first line; the lines after it are read one by one. So no line is looked at more than twice.

In TSV a cell is what stands between tabs, whatever quotes it holds. Quotes are taken off a cell that is quoted as a
whole; a quoted cell over several lines is believed only when none of those lines is a row by itself.
"""

import csv
import re
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from millrace.tasks.errors import Rejected

WRITE_ROW_AGAIN = "Correct the row, or write the file again, as UTF-8, with a program that quotes its values."

_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""The first line by which Excel names the delimiter."""

_MAX_HEADER_LINES = 200
_SURELY_ROWS = 100  # so many lines in a row that are rows by themselves were never meant as one field
_MANY_ROWS = 10  # fewer may be a table in a cell, unless their ids follow each other or the quote is never closed
_MAX_ID_CHARACTERS = 100


def malformed(message: str) -> Rejected:
    """The refusal of one row."""
    return Rejected(message, reason="malformed_row", remedy=WRITE_ROW_AGAIN)


class Lines:
    """The lines of a file, some of which may be put back."""

    def __init__(self, lines: Iterator[str]) -> None:
        """Read `lines`, each with its line end."""
        self._lines = lines
        self._put_back: deque[tuple[str, bool]] = deque()
        self.is_alone = False
        """Whether the line that was taken last is to be read by itself: it was part of a record that was none."""

    def take(self) -> str | None:
        """The next line; None at the end."""
        line, self.is_alone = self._put_back.popleft() if self._put_back else (next(self._lines, None), False)
        return line

    def put_back(self, lines: list[str], *, is_alone: bool = True) -> None:
        """Read these again, each by itself unless they may begin a record of several lines."""
        self._put_back.extendleft((line, is_alone) for line in reversed(lines))


@dataclass(frozen=True, slots=True)
class Header:
    """The names of the columns and the character between them; `id_index` is the column of the ids, if there is one."""

    names: list[str]
    delimiter: str
    id_index: int | None = None


def read_header(lines: Lines, *, is_tsv: bool, text_columns: tuple[str, ...], id_column: str) -> Header | None:
    """The header of a file, after blank lines and a line that names the separator; None when nothing else is there."""
    csv.field_size_limit(sys.maxsize)
    delimiter = "\t" if is_tsv else ""
    line = _first_line(lines)
    if line is not None and (named := _SEPARATOR_LINE.fullmatch(line)) is not None:
        delimiter = named[1]
        line = _first_line(lines)
    if line is None:
        return None
    delimiter = delimiter or _delimiter_of(line, text_columns)
    gathered = [line]
    is_open = ends_in_quotes(line, delimiter)
    while is_open and len(gathered) < _MAX_HEADER_LINES and (line := lines.take()) is not None:
        gathered.append(line)
        is_open = ends_in_quotes(line, delimiter, is_open=True)
    if is_open:
        lines.put_back(gathered[1:])
        gathered = gathered[:1]
    names = next(csv.reader(gathered, delimiter=delimiter), [])
    if not set(text_columns).issubset(names):
        names = [name.strip() for name in names]  # "id, text"
    return Header(names, delimiter, names.index(id_column) if id_column in names else None)


def read_rows(lines: Lines, header: Header, *, is_tsv: bool) -> Iterator[list[str] | Rejected]:
    """The fields of each row, as many as the header has; a refusal for each row that has others."""
    columns, delimiter = len(header.names), header.delimiter
    while (line := lines.take()) is not None:
        content = line.rstrip("\r\n")
        if not content:
            continue
        if '"' not in content:
            found: list[str] | Rejected = content.split(delimiter)
        else:
            found = _tsv_record(line, lines, header) if is_tsv else _csv_record(line, lines, header)
        if not isinstance(found, Rejected) and len(found) != columns:
            found = malformed(f"The row has {len(found)} fields where the header has {columns}.")
        yield found


def ends_in_quotes(line: str, delimiter: str, *, is_open: bool = False) -> bool:
    r"""Whether a quoted field is still open at the end of a line, at whose beginning it was open or not.

    >>> ends_in_quotes('1,"a, b\n', ","), ends_in_quotes('c"",d"\n', ",", is_open=True), ends_in_quotes('1,5"\n', ",")
    (True, False, False)
    """
    position = 0
    while True:
        if not is_open:
            if line.startswith('"', position):
                is_open, position = True, position + 1
            else:
                following = line.find(delimiter, position)
                if following < 0:
                    return False
                position = following + 1
            continue
        quote = line.find('"', position)
        if quote < 0:
            return True
        if line.startswith('"', quote + 1):
            position = quote + 2
            continue
        following = line.find(delimiter, quote + 1)
        if following < 0:
            return False
        is_open, position = False, following + 1


def _first_line(lines: Lines) -> str | None:
    """The next line that is not blank, without a byte order mark."""
    while (line := lines.take()) is not None:
        line = line.removeprefix("\ufeff")
        if line.strip():
            return line
    return None


def _delimiter_of(header: str, text_columns: tuple[str, ...]) -> str:
    """The character between the columns: a comma, unless the text columns only show with what other programs write."""
    for delimiter in ",;\t|":
        names = next(csv.reader([header], delimiter=delimiter), [])
        if any(name.strip() in text_columns for name in names):
            return delimiter
    return ","


def _csv_record(line: str, lines: Lines, header: Header) -> list[str] | Rejected:
    """The fields of the record that begins with `line`, which holds a quote."""
    delimiter, columns = header.delimiter, len(header.names)
    if lines.is_alone or not ends_in_quotes(line, delimiter):
        fields = _parsed([line], delimiter)
        literal = line.rstrip("\r\n").split(delimiter)
        return literal if isinstance(fields, Rejected) and lines.is_alone and len(literal) == columns else fields
    gathered = [line]
    rows = _RowsInQuotes(header, line)
    is_open = True
    while is_open and not rows.are_certain:
        following = lines.take()
        if following is None:
            break
        gathered.append(following)
        is_open = ends_in_quotes(following, delimiter, is_open=True)
        rows.add(following)
    if rows.are_likely(is_closed=not is_open):
        lines.put_back(gathered[1:])
        return line.rstrip("\r\n").split(delimiter)
    if is_open:
        lines.put_back(gathered[1:])
        return malformed("A quote is opened in the row and never closed; the lines after it are read one by one.")
    fields = _parsed(gathered, delimiter)
    if isinstance(fields, Rejected):
        lines.put_back(gathered[1:])
    return fields


class _RowsInQuotes:
    """Judges whether the lines that one quoted field would hold are rows themselves."""

    def __init__(self, header: Header, first: str) -> None:
        self._delimiter = header.delimiter
        self._columns = len(header.names)
        self._id_index = header.id_index
        self._kind_of_id = ""
        self._lines = 0
        self._last_id = -1
        self._ids_follow = True
        self._all_are_rows = self._columns > 1
        self.add(first)

    def add(self, line: str) -> None:
        """Judge one more line, the first one included."""
        if not self._all_are_rows:
            return
        cells = line.rstrip("\r\n").split(self._delimiter)
        identity = "" if self._id_index is None or len(cells) != self._columns else cells[self._id_index].strip(' "')
        kind = "none" if self._id_index is None else _kind_of_id(identity)
        self._kind_of_id = self._kind_of_id or kind
        self._lines += 1
        number = int(identity) if kind == "number" and len(identity) < _MAX_ID_CHARACTERS else -1
        self._ids_follow = self._ids_follow and number >= 0 and (self._lines == 1 or number == self._last_id + 1)
        self._last_id = number
        self._all_are_rows = len(cells) == self._columns and kind == self._kind_of_id != "prose"

    def are_likely(self, *, is_closed: bool) -> bool:
        """Whether all lines up to now are rows, and they or their ids are too many for chance."""
        swallowed = self._lines - 1
        if not self._all_are_rows or not swallowed:
            return False
        return not is_closed or swallowed >= _MANY_ROWS or (self._ids_follow and swallowed > 1)

    @property
    def are_certain(self) -> bool:
        """Whether no line need be looked at any more."""
        return self._all_are_rows and self._lines > _SURELY_ROWS


def _kind_of_id(cell: str) -> str:
    if cell.isdecimal():
        return "number"
    is_word = cell and len(cell) <= _MAX_ID_CHARACTERS and not any(map(str.isspace, cell))
    return "word" if is_word else "prose"


def _tsv_record(line: str, lines: Lines, header: Header) -> list[str] | Rejected:
    """The cells of the row that begins with `line`, which holds a quote."""
    columns = len(header.names)
    cells = line.rstrip("\r\n").split("\t")
    is_open = not lines.is_alone and columns > 1 and ends_in_quotes(line, "\t")
    if is_open and len(cells) <= columns and (fields := _tsv_record_over_lines(line, lines, columns)) is not None:
        return fields
    if len(cells) != columns:
        fields_in_quotes = _parsed([line], "\t")  # tabs in quotes
        if not isinstance(fields_in_quotes, Rejected) and len(fields_in_quotes) == columns:
            return fields_in_quotes
    return [_without_quotes(cell) for cell in cells]


def _tsv_record_over_lines(line: str, lines: Lines, columns: int) -> list[str] | None:
    """The cells of a row one of which has line breaks in quotes; None when the quote that opens it is text."""
    gathered = [line]
    is_open = True
    while is_open:
        following = lines.take()
        if following is None or following.count("\t") == columns - 1:
            if following is not None:
                lines.put_back([following], is_alone=False)
            lines.put_back(gathered[1:])
            return None
        gathered.append(following)
        is_open = ends_in_quotes(following, "\t", is_open=True)
    fields = _parsed(gathered, "\t")
    if isinstance(fields, Rejected) or len(fields) != columns:
        lines.put_back(gathered[1:])
        return None
    return fields


def _without_quotes(cell: str) -> str:
    inner = cell[1:-1]
    is_quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if is_quoted else cell


def _parsed(record: list[str], delimiter: str) -> list[str] | Rejected:
    """The fields of one record, given by its lines."""
    try:
        return next(csv.reader(record, delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        return malformed(f"The row cannot be split into fields: {error}.")
