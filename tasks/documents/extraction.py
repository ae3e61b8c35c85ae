"""What a format's reader makes of one file's content, and of a part that it may not touch again."""

from dataclasses import dataclass

from tasks.records import Heading, Page, Reject


@dataclass(frozen=True, slots=True)
class Extraction:
    """Text, and what the format says about it; `title` is "" where the format names none.

    `blank_pages` counts pages on which there is nothing.
    """

    text: str
    title: str = ""
    headings: tuple[Heading, ...] = ()
    pages: tuple[Page, ...] = ()
    blank_pages: int = 0


def given_up(name: str, item: str, cause: str, remedy: str) -> Reject:
    """The Reject for a unit during which an earlier reader hung or died: `cause` is its caller's word for how."""
    reason = "reader_died" if cause.startswith("died") else "timeout"
    return Reject("read", name, item, reason, f"{item or 'The file'} was given up ({cause}).", remedy)
