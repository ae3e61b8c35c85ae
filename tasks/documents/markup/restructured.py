"""reStructuredText: the text unchanged, with its section titles.

A title is a line underlined, or over- and underlined, with one punctuation character. The level of each style is the
order in which it first appears. Source: docutils, "reStructuredText Markup Specification", Sections.
"""

import re
import unicodedata
from collections.abc import Iterator

from millrace.tasks.documents.formats import MAX_TITLE_CHARACTERS, Extraction
from millrace.tasks.records import Heading

_TITLE = re.compile(
    r"""(?:\A|(?<=\n))                                     # after the start or
        (?:(?P<over>(?P<mark>[!-/:-@\[-`{-~])(?P=mark)+)[ \t]*\r?\n
           (?P<framed>[ \t]*[^\s][^\r\n]*)\r?\n
           (?P=over)[ \t]*(?=\r?\n|\Z)
        |  (?P<bare>[^\s][^\r\n]*)\r?\n
           (?P<under>(?P<char>[!-/:-@\[-`{-~])(?P=char)*)[ \t]*(?=\r?\n|\Z))""",
    re.VERBOSE,
)


def read_restructured(text: str) -> Extraction:
    """The text with its section titles; the first of them is the document's title."""
    headings = tuple(_restructured_headings(text))
    return Extraction(text, title=headings[0].title if headings else "", headings=headings)


def _restructured_headings(text: str) -> Iterator[Heading]:
    styles: list[tuple[str, bool]] = []
    position = 0
    while (found := _TITLE.search(text, position)) is not None:
        title, line, mark = (
            (found["framed"], found["over"], found["mark"])
            if found["over"]
            else (found["bare"], found["under"], found["char"])
        )
        title = title.strip()
        # docutils takes an underline that is too short with a warning, from four characters on.
        long_enough = len(line) >= min(4, _columns(title))
        above = text[text.rfind("\n", 0, max(found.start() - 1, 0)) + 1 : found.start()]
        if not long_enough or above.strip() or _is_rule(title):
            position = found.end() if _is_rule(title) else max(text.find("\n", found.start()) + 1, found.start() + 1)
            continue
        style = (mark, found["over"] is not None)
        if style not in styles:
            styles.append(style)
        start = found.start("framed") if found["over"] else found.start()
        yield Heading(min(styles.index(style) + 1, 9), _plain(title), start)
        position = found.end()


def _columns(title: str) -> int:
    """The width in columns: wide and full-width characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in title if not unicodedata.combining(c))


def _is_rule(title: str) -> bool:
    return len(set(title)) == 1 and not title[0].isalnum()


def _plain(title: str) -> str:
    """The title without the marks of roles, literals, links and emphasis."""
    title = re.sub(r":[\w:+.-]+:`([^`<]+?)(?:\s*<[^>]*>)?`", r"\1", title)
    title = re.sub(r"``([^`]+)``", r"\1", title)
    title = re.sub(r"`([^`<]+?)(?:\s*<[^>]*>)?`_{0,2}", r"\1", title)
    title = re.sub(r"(\*{1,2})(?=\S)(.+?)(?<=\S)\1", r"\2", title)
    title = re.sub(r"(?<=\w)_{1,2}(?=\W|$)", "", title)
    title = re.sub(r"\\(.)", r"\1", title)
    return " ".join(title.split())[:MAX_TITLE_CHARACTERS]
