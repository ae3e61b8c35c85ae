"""The bookmarks and the title of a PDF file: its headings, placed where the text says them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pypdf
from pypdf.generic import Destination

from tasks.documents.pdf_text import PDF_FAULTS, joined_surrogates, searchable
from tasks.records import Heading, Page

_MAX_TITLE_CHARACTERS = 300
_STOPGAP_TITLES = re.compile(
    r"(?:untitled|title|unknown|none|null|document\d*|(?:front )?cover|(?:table of )?contents|slide 1|presentation\d*"
    r"|目录|封面|无标题|无题|(?:microsoft )?(?:word|powerpoint|excel)(?: presentation| document)?|powerpoint 演示文稿)"
    r"|.*\.(?:docx?|pptx?|xlsx?|dvi|tex|pdf|indd|qxd|ps|eps|rtf|odt|wpd|pmd|fm|html?|txt|mif|ai|cdr|p65)"
    r"|(?:file|https?)://.*",
    re.IGNORECASE,
)
_PROGRAM = re.compile(
    r"^(?:Microsoft (?:Office )?(?:Word|PowerPoint|Excel)|OpenOffice\S*|FrameMaker)\s*-\s*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class OutlineEntry:
    """A bookmark: its level from 1, and the number of the page it leads to."""

    level: int
    title: str
    page: int


def outline_of(reader: pypdf.PdfReader) -> list[OutlineEntry]:
    """The bookmarks that lead to a page, in their order; none when the outline cannot be read."""
    try:
        nested = reader.outline
    except PDF_FAULTS:
        return []
    entries: list[OutlineEntry] = []
    stack: list[Iterator[Any]] = [iter(nested)]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
        elif isinstance(entry, list):
            stack.append(iter(entry))
        elif isinstance(entry, Destination) and (found := _entry(reader, entry, min(len(stack), 9))) is not None:
            entries.append(found)
    return entries


def _entry(reader: pypdf.PdfReader, destination: Destination, level: int) -> OutlineEntry | None:
    try:
        index = reader.get_destination_page_number(destination)
        title = _one_line(str(destination.title or ""))
    except PDF_FAULTS:
        return None
    return OutlineEntry(level, title, index + 1) if index is not None and title else None


def _one_line(title: str) -> str:
    return " ".join(searchable(joined_surrogates(title)).split())[:_MAX_TITLE_CHARACTERS]


def placed_headings(entries: list[OutlineEntry], text: str, pages: list[Page]) -> tuple[Heading, ...]:
    """The bookmarks as headings, at the line of their page that says the title, else at the page's start.

    A bookmark of a page that was not taken stands at the next page that was.
    """
    searchable: dict[int, _PageIndex] = {}
    headings: list[Heading] = []
    numbers = [p.number for p in pages]
    for entry in entries:
        following = next((i for i, number in enumerate(numbers) if number >= entry.page), None)
        if following is None:
            continue
        page = pages[following]
        start = None
        if page.number == entry.page:
            index = searchable.setdefault(page.number, _PageIndex.of(text, page))
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


def title_of(reader: pypdf.PdfReader, entries: list[OutlineEntry]) -> str:
    """The title in the document information unless it is a stopgap; else the bookmark that holds all others; or ""."""
    try:
        information = reader.metadata
        named = _one_line(str(information.title or "")) if information is not None else ""
    except PDF_FAULTS:
        named = ""
    top = [entry.title for entry in entries if entry.level == 1]
    for title in (_PROGRAM.sub("", named), top[0] if len(top) == 1 < len(entries) else ""):
        is_stopgap = _STOPGAP_TITLES.fullmatch(title) is not None
        if len(title) > 1 and any(c.isalpha() for c in title) and "\ufffd" not in title and not is_stopgap:
            return title
    return ""
