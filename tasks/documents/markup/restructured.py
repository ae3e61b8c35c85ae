"""reStructuredText: the text unchanged, with its section titles.

A title is a line underlined, or over- and underlined, with one punctuation character. The level of each style is the
order in which it first appears. Source: docutils, "reStructuredText Markup Specification", Sections.
"""

import re
import unicodedata
from collections.abc import Iterator

from millrace.tasks.documents.formats import MAX_TITLE_CHARACTERS, Extraction
from millrace.tasks.documents.markup.inline import one_line, without_emphasis
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


_MAX_MARKED_CHARACTERS = 4 * MAX_TITLE_CHARACTERS
# A role begins where no other could: else each of a row of colons would be tried as its beginning.
_ROLE = re.compile(r"(?<![\w:+.-]):[\w:+.-]+:(?=`)")
_LITERAL = re.compile(r"``([^`]+)``")
_LINK = re.compile(r"`([^`]+)`_{0,2}")
_REFERENCE = re.compile(r"(?<=[^\W_])_{1,2}(?=\W|$)")


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
    title = _ROLE.sub("", title[:_MAX_MARKED_CHARACTERS])
    title = _LITERAL.sub(r"\1", title)
    title = _LINK.sub(lambda link: link[1].partition("<")[0].rstrip() or link[1], title)
    title = without_emphasis(title)
    title = _REFERENCE.sub("", title)
    return one_line(re.sub(r"\\(.)", r"\1", title))
