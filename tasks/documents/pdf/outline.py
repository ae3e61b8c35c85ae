"""The bookmarks and the title of a PDF file: its headings, each at the line of the text that says it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from millrace.tasks.documents.pdf.engine import OutlineEntry
from millrace.tasks.records import Heading, Page

_STOPGAP_TITLES = re.compile(
    r"(?:untitled|title|unknown|none|null|document\d*|(?:front )?cover|(?:table of )?contents|slide 1|presentation\d*"
    r"|目录|封面|无标题|无题|(?:microsoft )?(?:word|powerpoint|excel)(?: presentation| document)?|powerpoint 演示文稿)"
    r"|.*\.(?:docx?|pptx?|xlsx?|dvi|tex|pdf|indd|qxd|ps|eps|rtf|odt|wpd|pmd|fm|html?|txt|mif|ai|cdr|p65)"
    r"|(?:file|https?)://.*",
    re.IGNORECASE,
)
"""What programs write as a title when nobody has given one."""
_PROGRAM = re.compile(
    r"^(?:Microsoft (?:Office )?(?:Word|PowerPoint|Excel)|OpenOffice\S*|FrameMaker)\s*-\s*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Outline:
    """The title in a file's document information ("" without one), and its bookmarks."""

    metadata_title: str = ""
    entries: tuple[OutlineEntry, ...] = ()


def headings_of(entries: Sequence[OutlineEntry], text: str, pages: Sequence[Page]) -> tuple[Heading, ...]:
    """The bookmarks as headings, at the line of their page that says the title, else at the page's start.

    A bookmark of a page that was not taken becomes a heading at the start of the next page that was.
    """
    indices: dict[int, _PageIndex] = {}
    headings: list[Heading] = []
    numbers = [p.number for p in pages]
    for entry in entries:
        following = next((i for i, number in enumerate(numbers) if number >= entry.page), None)
        if following is None:
            continue
        page = pages[following]
        start = None
        if page.number == entry.page:
            index = indices.setdefault(page.number, _PageIndex.of(text, page))
            start = index.line_of(entry.title)
        if start is None:
            same_page = [h.start for h in headings[-1:] if page.start <= h.start < page.end]
            start = same_page[0] if same_page else page.start
        headings.append(Heading(entry.level, entry.title, start))
    return tuple(sorted(headings, key=lambda h: h.start))


@dataclass(frozen=True, slots=True)
class _PageIndex:
    """A page's characters without white space and case, and where each stands in the text."""

    letters: str
    offsets: list[int]
    text: str
    start: int

    @classmethod
    def of(cls, text: str, page: Page) -> "_PageIndex":
        offsets = [i for i in range(page.start, page.end) if not text[i].isspace()]
        return cls("".join(text[i].lower()[0] for i in offsets), offsets, text, page.start)

    def line_of(self, title: str) -> int | None:
        """Where the line begins that says `title`, broken over lines or not; None when no line begins so."""
        wanted = "".join(c.lower()[0] for c in title if not c.isspace())
        found = self.letters.find(wanted)
        fallback = None
        while found >= 0 and wanted:
            offset = self.offsets[found]
            line = max(self.text.rfind("\n", self.start, offset) + 1, self.start)
            before = self.text[line:offset]
            if not before.strip():
                return line
            if fallback is None and len(before) <= 20:
                fallback = line  # "Chapter 3." or "2.1" before the words of the bookmark
            found = self.letters.find(wanted, found + 1)
        return fallback


def title_of(metadata_title: str, entries: Sequence[OutlineEntry]) -> str:
    """The title in the document information unless it is a stopgap; else the one bookmark that holds all others."""
    top = [entry.title for entry in entries if entry.level == 1]
    for title in (_PROGRAM.sub("", metadata_title), top[0] if len(top) == 1 < len(entries) else ""):
        is_stopgap = _STOPGAP_TITLES.fullmatch(title) is not None
        if len(title) > 1 and any(c.isalpha() for c in title) and "\ufffd" not in title and not is_stopgap:
            return title
    return ""
