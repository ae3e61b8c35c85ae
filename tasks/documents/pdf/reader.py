"""PDF to text, page by page, whichever engine reads it.

Each page's text layer is judged (`page_judgement`) and taken or rejected by itself. Pages are joined by a blank line;
hyphens at the ends of lines stay. What a font leaves unreadable on a page that is readable otherwise stands as one
U+FFFD. A page on which nothing is drawn is blank: it holds nothing that could be lost, so it is counted and not
rejected.

A file is read in one go (`read_pdf`), or in ranges of pages, perhaps by several processes, that `join_pages` makes one
document of; both give the same.

The bookmarks and the title of a PDF file: its headings, placed where the text says them.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from millrace.tasks.documents.formats import Extraction, abandoned_unit
from millrace.tasks.documents.pdf.engine import MEND_FILE, OpenPdf, OutlineEntry, PageDamaged, one_line, searchable
from millrace.tasks.documents.pdf.text_layer import judge_page
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Heading, Page, Reject

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


def placed_headings(entries: Sequence[OutlineEntry], text: str, pages: Sequence[Page]) -> tuple[Heading, ...]:
    """The bookmarks as headings, at the line of their page that says the title, else at the page's start.

    A bookmark of a page that was not taken stands at the next page that was.
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


def title_of(named: str, entries: Sequence[OutlineEntry]) -> str:
    """The title that the document information names unless it is a stopgap; else the bookmark that holds all others."""
    top = [entry.title for entry in entries if entry.level == 1]
    for title in (_PROGRAM.sub("", named), top[0] if len(top) == 1 < len(entries) else ""):
        is_stopgap = _STOPGAP_TITLES.fullmatch(title) is not None
        if len(title) > 1 and any(c.isalpha() for c in title) and "\ufffd" not in title and not is_stopgap:
            return title
    return ""


_PAGES_BEFORE_RELEASE = 20
_ADD_TEXT_LAYER = "Run it through text recognition (for instance `ocrmypdf --force-ocr in.pdf out.pdf`), then retry."
_FILE_CPU_S, _PAGE_CPU_S = 600.0, 0.2
_UNKNOWN_RUN = re.compile("\ufffd+")


@dataclass(frozen=True, slots=True)
class Outline:
    """What a file says of itself: the title in its document information ("" without one), and its bookmarks."""

    named_title: str = ""
    entries: tuple[OutlineEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class PagesRead:
    """A range of pages: the number and text of each that was taken, why others were not, and how many are blank.

    The range that holds the last page has the outline, and perhaps a reject for it. `cpu_s` is what reading them took.
    """

    taken: tuple[tuple[int, str], ...]
    rejects: tuple[Reject, ...]
    blank: int
    outline: Outline | None = None
    cpu_s: float = 0.0


def check_patience(cpu_s: float, pages: int) -> None:
    """Raises `Rejected`, "timeout", when `pages` pages of a file took so long to read that it must be hostile.

    A page has a deadline of its own; this is for thousands that keep it barely. It is CPU, so that a busy machine
    changes nothing. Typical pages take 0.02 s, and one that takes minutes may stand among a few.
    """
    bound_s = _FILE_CPU_S + pages * _PAGE_CPU_S
    if cpu_s > bound_s:
        raise Rejected(
            f"Reading its pages took more than {bound_s:,.0f} s of CPU.",
            reason="timeout",
            remedy="Save it anew in its own program, or split it, then retry.",
        )


def read_pdf(
    pdf: OpenPdf, name: str, *, min_page_characters: int, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Extraction | Reject]:
    """The document's text with its pages, then a Reject for each page (or the outline) that could not be taken.

    Raises:
        Rejected: nothing of it can be taken: "damaged", "no_text_layer", "blank", "timeout".
    """
    numbers = range(1, pdf.page_count + 1)
    read = read_pages(pdf, numbers, name, min_page_characters=min_page_characters, skip=skip, at=at)
    yield from join_pages([read], name, skip=skip, at=at)


def read_pages(
    pdf: OpenPdf,
    numbers: range,
    name: str,
    *,
    min_page_characters: int,
    skip: Mapping[str, str],
    at: Callable[[str], None],
) -> PagesRead:
    """The pages of these numbers, from 1, and the outline after the last page of the file.

    Raises:
        Rejected: they take too long in all: "timeout".
    """
    began = time.process_time()
    taken: list[tuple[int, str]] = []
    rejects: list[Reject] = []
    blank = 0
    for read, number in enumerate(numbers, start=1):
        item = f"page {number}"
        if item in skip:
            rejects.append(abandoned_unit(name, item, skip[item], MEND_FILE))
            continue
        at(item)
        check_patience(time.process_time() - began, len(numbers))
        text = _page_text(pdf, number, name, min_page_characters)
        if isinstance(text, Reject):
            rejects.append(text)
        elif text is None:
            blank += 1
        else:
            taken.append((number, text))
        if read % _PAGES_BEFORE_RELEASE == 0:
            pdf.let_go()
    outline = None
    if numbers and numbers[-1] == pdf.page_count:
        outline = Outline()
        if "outline" in skip:
            rejects.append(abandoned_unit(name, "outline", skip["outline"], MEND_FILE))
        else:
            at("outline")
            outline = Outline(one_line(pdf.named_title()), tuple(pdf.outline()))
    return PagesRead(tuple(taken), tuple(rejects), blank, outline, time.process_time() - began)


def join_pages(
    ranges: Sequence[PagesRead], name: str, *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Extraction | Reject]:
    """What `read_pdf` gives, from the ranges of all pages in order.

    Raises:
        Rejected: there is no page with text among them.
    """
    rejects = [reject for part in ranges for reject in part.rejects]
    blank = sum(part.blank for part in ranges)
    pages: list[Page] = []
    end = -2
    for number, text in (page for part in ranges for page in part.taken):
        pages.append(Page(number, end + 2, end + 2 + len(text)))
        end = pages[-1].end
    if not pages:
        raise _nothing_usable([r for r in rejects if r.item != "outline"], blank)
    text = "\n\n".join(text for part in ranges for _, text in part.taken)
    outline = next((part.outline for part in ranges if part.outline is not None), Outline())
    if "outline" not in skip:
        at("outline")
    elif not any(reject.item == "outline" for reject in rejects):  # it hung here, and not while it was read
        rejects.append(abandoned_unit(name, "outline", skip["outline"], MEND_FILE))
        outline = replace(outline, entries=())
    headings = placed_headings(outline.entries, text, pages)
    title = title_of(outline.named_title, outline.entries)
    yield Extraction(text, title=title, headings=headings, pages=tuple(pages), blank_pages=blank)
    yield from rejects


def _page_text(pdf: OpenPdf, number: int, name: str, min_characters: int) -> str | Reject | None:
    """The page's text, cleaned and stripped, or why it has none; None when it is blank."""
    item = f"page {number}"
    try:
        page = pdf.page(number, min_characters=min_characters)
    except PageDamaged as fault:
        return Reject("read", name, item, "page_damaged", f"The page cannot be read: {fault}.", MEND_FILE)
    except MemoryError:
        return Reject("read", name, item, "memory", "The page needs more memory than it may have.", MEND_FILE)
    if page.is_bare:
        return None
    verdict = judge_page(page.text, image_pixels=page.image_pixels, page_area=page.area, min_characters=min_characters)
    if verdict is not None:
        return Reject("read", name, item, verdict.reason, verdict.message, _ADD_TEXT_LAYER)
    return _UNKNOWN_RUN.sub("\ufffd", searchable(page.text)).strip()


def _nothing_usable(rejects: list[Reject], blank: int) -> Rejected:
    if not rejects:
        return Rejected(
            f"All {blank} pages are blank: nothing is drawn on them.",
            reason="blank",
            remedy="Nothing to do unless text was expected; then look at the file.",
        )
    seen = Counter(r.reason for r in rejects)
    first = rejects[0]
    if set(seen) <= {first.reason} & {"timeout", "reader_died", "memory", "page_damaged"}:
        reason = {"page_damaged": "damaged"}.get(first.reason, first.reason)
        return Rejected(
            f"None of {len(rejects)} pages can be read. {first.message}", reason=reason, remedy=first.remedy
        )
    counts = ", ".join(f"{count} {reason}" for reason, count in seen.most_common())
    return Rejected(
        f"None of {len(rejects)} pages has a usable text layer ({counts}). {first.message}",
        reason="no_text_layer",
        remedy=_ADD_TEXT_LAYER,
    )
