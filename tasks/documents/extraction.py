"""What a format's reader makes of one file's content."""

from dataclasses import dataclass

from tasks.records import Heading, Page


@dataclass(frozen=True, slots=True)
class Extraction:
    """Text, and what the format says about it; `title` is "" where the format names none."""

    text: str
    title: str = ""
    headings: tuple[Heading, ...] = ()
    pages: tuple[Page, ...] = ()
