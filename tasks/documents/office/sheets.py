"""Spreadsheets (.xlsx, .xls, .xlsb, .ods) to text: each sheet under its name, its tables with their header rows.

Values are those that the program computed last. Hidden sheets are left out. Blank rows part tables from each other; in
each, lines of a single cell before the first row of several are text, and that row is the header if all of it is text.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, BinaryIO

from millrace.tasks.documents.file_kinds import HEAD_BYTES, kind_of
from millrace.tasks.documents.formats import Extraction, Member, abandoned_unit
from millrace.tasks.documents.office.package import SAVE_AGAIN, open_package
from millrace.tasks.documents.text_builder import TextBuilder
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Reject

Value = str | float | bool | dt.date | dt.time | dt.timedelta
Row = Sequence[Value]

_MAX_NAME_CHARACTERS = 100
_EXACT_FLOATS = 2**53


def read_sheets(
    opened: BinaryIO, name: str, *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Extraction | Member | Reject]:
    """The sheets, one under the other, and a Reject for each that could not be read.

    Raises:
        Rejected: "encrypted", "damaged", "too_large", "unsupported_format".
    """
    out = TextBuilder()
    rejects: list[Reject] = []
    for title, rows in sheets_of(opened, name, rejects, skip=skip, at=at):
        before = out.length
        for is_filled, block in groupby(rows, key=lambda row: any(value != "" for value in row)):
            if is_filled and out.length == before:
                out.add_heading(1, title, _MAX_NAME_CHARACTERS)
            if is_filled:
                _add_block(out, [list(row) for row in block])
    text, headings, tables = out.finish()
    if text or not rejects:
        yield Extraction(text, headings=headings, tables=tables)
    yield from rejects


def sheets_of(
    opened: BinaryIO, name: str, rejects: list[Reject], *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[tuple[str, list[list[Any]]]]:
    """Title and rows of each visible sheet; what cannot be read goes to `rejects`. Raises as `read_sheets`."""
    import python_calamine as calamine

    _check(opened)
    try:
        with _panics_as_errors():
            workbook = calamine.CalamineWorkbook.from_filelike(opened)
            sheets = list(workbook.sheets_metadata)
    except calamine.PasswordError as error:
        raise Rejected(
            "The file is encrypted.", reason="encrypted", remedy="Save it without a password, then retry."
        ) from error
    except (calamine.CalamineError, OSError, ValueError, OverflowError) as error:
        raise _damaged(str(error)) from error
    for number, about in enumerate(sheets, start=1):
        item = f"sheet {number}"
        is_sheet = about.typ == calamine.SheetTypeEnum.WorkSheet and about.visible == calamine.SheetVisibleEnum.Visible
        if item in skip:
            rejects.append(abandoned_unit(name, item, skip[item], "Delete the sheet or split it, then retry."))
        elif is_sheet:
            at(item)
            try:
                with _panics_as_errors():
                    rows = list(workbook.get_sheet_by_index(number - 1).iter_rows())
            except (calamine.CalamineError, ValueError, IndexError, OverflowError) as error:
                message = f"The sheet {about.name} cannot be read ({error})."
                rejects.append(Reject("read", name, item, "damaged", message, SAVE_AGAIN))
            else:
                yield about.name, rows


@contextmanager
def _panics_as_errors() -> Iterator[None]:
    """The library panics over some damaged files of the old format, which is no `Exception` to Python."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ValueError(" ".join(str(error).split())) from error


def sheet_records(opened: BinaryIO, name: str, at: Callable[[str], None]) -> Iterator[Mapping[str, Any] | Rejected]:
    """Each row of the visible sheets as a record, by the names in the first row of its sheet that is filled.

    A sheet that cannot be read is a refusal. Raises as `read_sheets`.
    """
    rejects: list[Reject] = []
    for _, rows in sheets_of(opened, name, rejects, skip={}, at=at):
        filled = (row for row in rows if any(value != "" for value in row))
        header = [as_text(value) for value in next(filled, [])]
        for row in filled:
            yield {name: value if value != "" else None for name, value in zip(header, row, strict=False) if name}
    for reject in rejects:
        yield Rejected(reject.message, reason=reject.reason, remedy=reject.remedy)


def _check(opened: BinaryIO) -> None:
    """Refuse what is no spreadsheet, and what unpacks to more than may be read."""
    head = opened.read(HEAD_BYTES)
    opened.seek(0)
    if head.startswith(b"PK"):
        with open_package(opened, "") as package:
            package.check_sizes()
        opened.seek(0)
    elif not head.startswith((b"\xd0\xcf\x11\xe0", b"\x09\x08", b"\x09\x04", b"\x09\x02", b"\x09\x00")):
        kind = kind_of(head) or f"no spreadsheet; it begins with {head[:16]!r}"
        raise Rejected(
            f"The file is {kind}.", reason="unsupported_format", remedy="Give it the suffix of its format, then retry."
        )


def _damaged(why: str) -> Rejected:
    return Rejected(f"The file is damaged: {why}.", reason="damaged", remedy=SAVE_AGAIN)


def _add_block(out: TextBuilder, rows: list[list[Value]]) -> None:
    """Rows without a blank one between them: lines of text, then a table."""
    used = [column for column in range(len(rows[0])) if any(row[column] != "" for row in rows)]
    written = [[row[column] for column in used] for row in rows]
    first = next((i for i, row in enumerate(written) if sum(value != "" for value in row) > 1), len(written))
    for row in written[:first]:
        out.break_line(2)
        out.add_words(" ".join(as_text(value) for value in row if value != ""))
        out.break_line(2)
    table = written[first:]
    if table:
        header = len(table) > 1 and all(isinstance(value, str) for value in table[0])
        out.add_table([[as_text(value) for value in row] for row in table], header=header)


def as_text(value: Any) -> str:
    """A cell's value as a person writes it: whole numbers without a fraction, dates in ISO 8601.

    >>> as_text(3.0), as_text(dt.datetime(2026, 5, 1)), as_text(True), as_text(0.1)
    ('3', '2026-05-01', 'TRUE', '0.1')
    """
    match value:
        case bool():
            return "TRUE" if value else "FALSE"
        case float() if value.is_integer() and abs(value) < _EXACT_FLOATS:
            return str(int(value))
        case dt.datetime() if value.time() == dt.time():
            return value.date().isoformat()
        case dt.datetime():
            return value.isoformat(" ")
        case dt.date() | dt.time():
            return value.isoformat()
        case _:
            return str(value)
