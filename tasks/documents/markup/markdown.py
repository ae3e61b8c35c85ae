"""Markdown: the text unchanged, with its headings.

Headings are ATX (`## Title`), setext (a line underlined with `===` or `---`) and HTML (`<h2>Title</h2>`), outside
fenced and indented code, HTML comments and front matter. Source: CommonMark 0.31.

Regular expressions find them rather than a parser: on 49 Markdown files of Debian packages, markdown-it-py finds the
same headings of the same levels, takes five times as long (58 ms against 12 ms for 68 kB), and does not see `<h2>`.
"""

import html
import re
from collections.abc import Iterator

from millrace.tasks.documents.formats import MAX_TITLE_CHARACTERS, Extraction
from millrace.tasks.records import Heading

_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_ASIDE = 0xE000  # where escaped signs wait, in private use, until the marks are gone
_FRONT_MATTER = re.compile(
    r"(?P<fence>---|\+\+\+)[ \t]*\r?\n(?P<body>.*?)^(?P=fence)[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE
)
_FRONT_MATTER_TITLE = re.compile(r"^title[ \t]*[:=][ \t]*(?P<title>[^\r\n]+)", re.MULTILINE | re.IGNORECASE)

# Only the lines that can matter; a document's other lines are never looked at one by one.
_LANDMARK = re.compile(
    r"""^(?:
      [ ]{0,3}(?P<fence>`{3,}|~{3,})(?P<info>[^\r\n]*)
    | [ ]{0,3}(?P<hashes>\#{1,6})(?:[ \t]+(?P<atx>[^\r\n]*))?(?=\r?$)
    | [ ]{0,3}(?P<underline>=+|-+)[ \t]*(?=\r?$)
    | [ ]{0,3}<h(?P<level>[1-6])\b[^>]*>(?P<html>.{0,2000}?)</h(?P=level)\s*>
    )""",
    re.MULTILINE | re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_NO_PARAGRAPH = re.compile(
    r"[ ]{4}|\t|[ ]{0,3}(?:>|[-+*][ \t]|\d{1,9}[.)][ \t]|\||\#{1,6}[ \t]|<|`{3}|~{3}|[-=*_ \t]+\r?$)|\s*$"
)


def read_markdown(text: str) -> Extraction:
    """The text with its headings; the title is the front matter's, else the first H1, else the first heading."""
    front = _FRONT_MATTER.match(text)
    headings = tuple(_headings(text, front.end() if front else 0))
    return Extraction(text, title=_title(front, headings), headings=headings)


def _title(front: re.Match[str] | None, headings: tuple[Heading, ...]) -> str:
    if front and (found := _FRONT_MATTER_TITLE.search(front["body"])):
        title = found["title"].strip()
        if len(title) > 1 and title[0] == title[-1] and title[0] in "\"'":
            title = title[1:-1]
        if title.strip():
            return title.strip()[:MAX_TITLE_CHARACTERS]
    first_top = next((h for h in headings if h.level == 1), None)
    return (first_top or headings[0]).title if headings else ""


def _headings(text: str, position: int) -> Iterator[Heading]:
    """Headings from `position` on, in order."""
    setext_floor = position  # a heading's paragraph cannot begin before the last landmark's end
    comment = _comment(text, position)
    while (mark := _LANDMARK.search(text, position)) is not None:
        if comment[0] < mark.start():
            position = max(position, comment[1])
            comment = _comment(text, comment[1])
            continue
        position = max(mark.end(), mark.start() + 1)
        level, title, start = 0, "", mark.start()
        if mark["fence"] is not None:
            if "`" in mark["fence"] and "`" in mark["info"]:
                continue  # `` ```code``` `` in a line, no fence
            position = _fence_end(text, mark)
        elif mark["hashes"] is not None:
            level, title = len(mark["hashes"]), re.sub(r"(?:^|[ \t]+)#+[ \t]*$", "", mark["atx"] or "")
        elif mark["html"] is not None:
            level, title = int(mark["level"]), html.unescape(re.sub(r"<[^>]*>", "", mark["html"]))
        else:
            start = _paragraph_start(text, setext_floor, mark.start())
            level, title = (1 if mark["underline"][0] == "=" else 2), text[start : mark.start()]
        setext_floor = position
        if plain := plain_inline(title):
            yield Heading(level, plain, start)


def _comment(text: str, position: int) -> tuple[int, int]:
    """Start and end of the next HTML comment, past the text's end when there is none."""
    while (start := text.find("<!--", position)) >= 0:
        line_start = text.rfind("\n", 0, start) + 1
        end = text.find("-->", start)
        in_code = text.count("`", line_start, start) % 2 == 1
        if end >= 0 and not in_code:
            return start, end + 3
        position = start + 4
    return len(text), len(text)


def _fence_end(text: str, opening: re.Match[str]) -> int:
    fence = opening["fence"]
    closing = re.compile(rf"^[ ]{{0,3}}{re.escape(fence[0])}{{{len(fence)},}}[ \t]*\r?$", re.MULTILINE)
    found = closing.search(text, opening.end())
    return found.end() if found else len(text)


def _paragraph_start(text: str, floor: int, end: int) -> int:
    """Where the paragraph that ends at `end` begins, as far as it may be a setext heading; `end` when there is none."""
    start = end
    while start > floor:
        line_start = text.rfind("\n", floor, start - 1) + 1 if start - 1 > floor else floor
        line_start = max(line_start, floor)
        if _NO_PARAGRAPH.match(text, line_start, start) or end - line_start > 1000:
            break
        start = line_start
    # A list, quotation or table above the line makes it a continuation or a rule, not a heading.
    above = text[text.rfind("\n", 0, max(start - 1, 0)) + 1 : start] if start > floor else ""
    return start if not above.strip() else end


def plain_inline(title: str) -> str:
    """A heading's words without the marks of emphasis, code, links, images and attributes, in one line.

    >>> plain_inline("The **`run`** command, see [docs](http://x.y) {#run}")
    'The run command, see docs'
    """
    title = _ESCAPED.sub(lambda escaped: chr(_ASIDE + ord(escaped[1])), title)
    title = re.sub(r"\s*\{[#.:][^}]*\}\s*$", "", title)
    title = re.sub(r"!\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", title)
    title = re.sub(r"\[([^\]]+)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", title)
    title = re.sub(r"<(?:!--.*?--|/?[a-zA-Z][^>]*)>", "", title)
    title = re.sub(r"(\*{1,3}|`+|~~)(?=\S)(.+?)(?<=\S)\1", r"\2", title)
    title = re.sub(r"(\*{1,3}|`+)(?=\S)(.+?)(?<=\S)\1", r"\2", title)
    title = "".join(chr(ord(c) - _ASIDE) if _ASIDE <= ord(c) < _ASIDE + 128 else c for c in title)
    return " ".join(title.split())[:MAX_TITLE_CHARACTERS]
