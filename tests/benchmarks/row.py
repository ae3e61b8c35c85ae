"""One line of the table that `make bench` prints."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What was measured. `beside` is the same work done the bare way in the same run, "" where there is none.

    `ratio` is the figure over the bare way's, as the target counts it.
    """

    name: str
    target: str
    figure: str
    beside: str = ""
    ratio: str = ""


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| | target | this run | the bare way, same run | ratio |", "|---|---|---|---|---|"]
    return "\n".join(
        [*lines, *(f"| {row.name} | {row.target} | {row.figure} | {row.beside} | {row.ratio} |" for row in rows)]
    )
