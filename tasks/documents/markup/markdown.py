"""Markdown: the text with its headings, without its front matter, which gives the title.

Headings are ATX (`## Title`), setext (a line underlined with `===` or `---`) and HTML (`<h2>Title</h2>`), outside
fenced and indented code, HTML comments and front matter. Source: CommonMark 0.31.

Regular expressions find them rather than a parser: on 49 Markdown files of Debian packages, markdown-it-py finds the
same headings of the same levels, takes five times as long (58 ms against 12 ms for 68 kB), and does not see `<h2>`.
No expression looks at a character more than a fixed number of times, so that the time grows with the text.
"""

import html
import re
from collections.abc import Iterator

from millrace.tasks.documents.formats import MAX_TITLE_CHARACTERS, Extraction
from millrace.tasks.documents.markup.front_matter import FrontMatter, front_matter
from millrace.tasks.documents.markup.inline import plain_inline
from millrace.tasks.documents.markup.pipe_tables import find_tables
from millrace.tasks.records import Heading

_MAX_HTML_HEADING_CHARACTERS = 2_000
_MAX_SETEXT_CHARACTERS = 1_000

# Only the lines that can matter; a document's other lines are never looked at one by one.
_LANDMARK = re.compile(
    r"""^(?:
      [ ]{0,3}(?P<fence>`{3,}+|~{3,}+)(?P<info>[^\r\n]*+)
    | [ ]{0,3}(?P<hashes>\#{1,6})(?:[ \t]++(?P<atx>[^\r\n]*+))?(?=\r?$)
    | [ ]{0,3}(?P<underline>=++|-++)[ \t]*+(?=\r?$)
    | [ ]{0,3}<h(?P<level>[1-6])\b[^<>]*+>
    )""",
    re.MULTILINE | re.VERBOSE | re.IGNORECASE,
)
_HTML_HEADING_END = {level: re.compile(rf"</h{level}\s*+>", re.IGNORECASE) for level in range(1, 7)}
_ANY_TAG = re.compile(r"<[^<>]*+>")
_NO_PARAGRAPH = re.compile(
    r"[ ]{4}|\t|[ ]{0,3}(?:>|[-+*][ \t]|\d{1,9}[.)][ \t]|\||\#{1,6}[ \t]|<|`{3}|~{3}|[-=*_ \t]++\r?$)|\s*+$"
)


def read_markdown(text: str) -> Extraction:
    """The text with its headings; the title is the front matter's, else the first H1, else the first heading."""
    front = front_matter(text)
    if front is not None and text[front.end :].strip():
        text = text[front.end :]
        headings = tuple(_headings(text, 0))
    else:
        headings = tuple(_headings(text, front.end if front else 0))
    return Extraction(text, title=_title(front, headings), headings=headings, tables=tuple(find_tables(text)))


def _title(front: FrontMatter | None, headings: tuple[Heading, ...]) -> str:
    if front is not None and front.title:
        return front.title[:MAX_TITLE_CHARACTERS]
    first_top = next((h for h in headings if h.level == 1), None)
    return (first_top or headings[0]).title if headings else ""


def _headings(text: str, position: int) -> Iterator[Heading]:
    """Headings from `position` on, in order."""
    setext_floor = position  # a heading's paragraph cannot begin before the end of the last landmark
    comments, closings = _Comments(text), _HeadingEnds(text)
    comment = comments.next(position)
    while (mark := _LANDMARK.search(text, position)) is not None:
        if comment[0] < mark.start():
            position = max(position, comment[1])
            comment = comments.next(comment[1])
            continue
        position = max(mark.end(), mark.start() + 1)
        level, title, start = 0, "", mark.start()
        if mark["fence"] is not None:
            if "`" in mark["fence"] and "`" in mark["info"]:
                continue  # `` ```code``` `` in a line is not a fence
            position = _fence_end(text, mark)
            if comment[0] < position:
                comment = comments.next(position)
        elif mark["hashes"] is not None:
            level, title = len(mark["hashes"]), _without_closing_hashes(mark["atx"] or "")
        elif mark["level"] is not None:
            level = int(mark["level"])
            end = closings.next(level, mark.end())
            if end is None or end.start() - mark.end() > _MAX_HTML_HEADING_CHARACTERS:
                continue
            title, position = html.unescape(_ANY_TAG.sub("", text[mark.end() : end.start()])), end.end()
        else:
            start = _paragraph_start(text, setext_floor, mark.start())
            level, title = (1 if mark["underline"][0] == "=" else 2), text[start : mark.start()]
        setext_floor = position
        if plain := plain_inline(title):
            yield Heading(level, plain, start)


def _without_closing_hashes(title: str) -> str:
    """An ATX heading's text without the number signs that may close it."""
    title = title.rstrip(" \t")
    bare = title.rstrip("#")
    return bare if not bare or bare[-1] in " \t" else title


class _Comments:
    """The HTML comments of a text, from the first on; each character is looked at once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._last_end = text.rfind("-->")
        self._seen = 0
        self._backticks_in_line = 0

    def next(self, position: int) -> tuple[int, int]:
        """Start and end of the next comment from `position` on; the text's length twice if there is none."""
        text = self._text
        while (start := text.find("<!--", position, self._last_end + 1)) >= 0:
            if not self._is_in_code(start):
                end = text.find("-->", start)
                if end >= 0:
                    return start, end + 3
            position = start + 4
        return len(text), len(text)

    def _is_in_code(self, position: int) -> bool:
        """Whether an odd number of backticks stands before `position` in its line; positions must ascend."""
        line_start = self._text.rfind("\n", self._seen, position) + 1
        if line_start:
            self._backticks_in_line = self._text.count("`", line_start, position)
        else:
            self._backticks_in_line += self._text.count("`", self._seen, position)
        self._seen = position
        return self._backticks_in_line % 2 == 1


class _HeadingEnds:
    """The end tags of HTML headings; for each level the text is searched once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found: dict[int, re.Match[str] | None] = {}

    def next(self, level: int, position: int) -> re.Match[str] | None:
        """The first end tag of the level from `position` on; positions must ascend."""
        found = self._found[level] if level in self._found else _HTML_HEADING_END[level].search(self._text, position)
        if found is not None and found.start() < position:
            found = _HTML_HEADING_END[level].search(self._text, position)
        self._found[level] = found
        return found


def _fence_end(text: str, opening: re.Match[str]) -> int:
    fence = opening["fence"]
    closing = re.compile(rf"^[ ]{{0,3}}{re.escape(fence[0])}{{{len(fence)},}}+[ \t]*+\r?$", re.MULTILINE)
    found = closing.search(text, opening.end())
    return found.end() if found else len(text)


def _paragraph_start(text: str, floor: int, end: int) -> int:
    """Where the paragraph that ends at `end` begins, if it may be a setext heading; `end` if it may not."""
    start = end
    while start > floor:
        line_start = max(text.rfind("\n", floor, start - 1) + 1, floor)
        if end - line_start > _MAX_SETEXT_CHARACTERS or _NO_PARAGRAPH.match(text, line_start, start):
            break
        start = line_start
    # A list, quotation or table above the line makes it a continuation or a rule, not a heading.
    above = text[max(text.rfind("\n", floor, max(start - 1, floor)) + 1, floor) : start]
    return start if not above.strip() else end
