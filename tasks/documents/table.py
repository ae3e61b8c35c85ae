"""Tables: rows of cells, placed in a grid so that each value stays under its own column."""

from dataclasses import dataclass, field

from millrace.tasks.documents.text_builder import SPACES, TextBuilder

_MAX_COLUMNS = 100
_MAX_ROWS = 65_534  # as in the HTML standard, "rules for parsing non-negative integers" of rowspan
_MAX_REPEATED_CHARACTERS = 60
_MAX_COPIES_A_CELL = 10
"""A table whose spans would make more copies than this, on average, is written without them."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell's text, how many columns and rows it spans, and whether it heads its column."""

    text: TextBuilder
    columns: int = 1
    rows: int = 1
    heads: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is being read: the text before it, and its rows so far."""

    surrounding: TextBuilder
    rows: list[list[Cell]] = field(default_factory=list)

    def add_cell(self, text: TextBuilder, *, columns: int = 1, rows: int = 1, heads: bool = False) -> None:
        """Add a cell to the last row; it spans so many columns, and rows, of which 0 means all that follow."""
        self.rows[-1].append(
            Cell(text, min(columns, _MAX_COLUMNS) or 1, min(rows, _MAX_ROWS) or _MAX_ROWS, heads=heads)
        )

    def add_to_surrounding(self) -> TextBuilder:
        """The surrounding text with the rows: a line for a row of data, paragraphs for a row that lays out the page."""
        data: list[list[str]] = []
        header = False
        for cells, places in zip(self.rows, _grid(self.rows), strict=True):
            filled = [cell for cell in cells if cell.text.length]
            if (len(cells) == 1 and len({*places} - {""}) <= 1) or any(_is_layout(cell.text) for cell in filled):
                self.surrounding.add_table(data, header=header, lines=1)
                data = []
                for cell in filled:
                    self.surrounding.append(cell.text)
            elif filled:
                header = header if data else len(cells) > 1 and all(cell.heads for cell in filled)
                data.append(places)
        self.surrounding.add_table(data, header=header, lines=1)
        return self.surrounding


def _is_layout(text: TextBuilder) -> bool:
    return text.structured or text.paragraphs > 3 or text.length > 1000


def _grid(rows: list[list[Cell]]) -> list[list[str]]:
    """The text in each place of each row.

    A cell that spans columns leaves the places after the first empty; one that spans rows is repeated if it is short.
    """
    if any(cell.columns > 1 or cell.rows > 1 for row in rows for cell in row):
        budget = _MAX_COPIES_A_CELL * sum(map(len, rows)) + 100
        spanned: dict[int, tuple[int, str]] = {}
        placed: list[list[str]] = []
        for number, row in enumerate(rows):
            placed.append(_placed(row, number, spanned))
            budget -= len(placed[-1])
            if budget < 0:
                break
        else:
            return placed
    return [[_line(cell) for cell in row] for row in rows]


def _placed(row: list[Cell], number: int, spanned: dict[int, tuple[int, str]]) -> list[str]:
    """The row's places; `spanned` holds for a column the last row that a cell above reaches, and its copy."""
    places: list[str] = []

    def add_spanned() -> None:
        while spanned.get(len(places), (-1, ""))[0] >= number:
            places.append(spanned[len(places)][1])

    empty_at_end = 0
    for cell in row:
        add_spanned()
        line = _line(cell)
        copy = line if len(line) <= _MAX_REPEATED_CHARACTERS else ""
        if cell.rows > 1:
            for column in range(cell.columns):
                spanned[len(places) + column] = (number + cell.rows - 1, "" if column else copy)
        places += [line, *[""] * (cell.columns - 1)]
        empty_at_end = cell.columns - 1
    filled = len(places)
    add_spanned()
    # The last cell of a row often spans more columns than there are.
    return places if len(places) > filled else places[: filled - empty_at_end]


def _line(cell: Cell) -> str:
    """The cell's text in one line; empty where the cell is not for data."""
    return "" if _is_layout(cell.text) else SPACES.sub(" ", cell.text.finish()[0])
