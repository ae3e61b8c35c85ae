"""PDF to text, page by page, whichever engine reads it.

The text layer of each page is judged (`text_layer`), and the page taken or rejected by itself. Pages are joined by a
blank line; running heads and feet are left out (`running_lines`), and words that are hyphenated at the end of a line
are made whole (`hyphens`). Each run of characters that a font leaves unknown, on a page that is readable otherwise, is
one U+FFFD. A page on which nothing is drawn is blank: it holds nothing that could be lost, so it is counted and not
rejected. Attached documents are not read; a Reject names them.

A file is read in one go, or in ranges of pages, perhaps by several processes, which `join_pages` makes one
document of; both give the same.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from millrace.tasks.documents.formats import Extraction, abandoned_unit
from millrace.tasks.documents.pdf.engine import (
    DETACH,
    SAVE_ANEW,
    OpenPdf,
    PageDamaged,
    listed_names,
    one_line,
    searchable,
)
from millrace.tasks.documents.pdf.hyphens import joined_words
from millrace.tasks.documents.pdf.outline import Outline, headings_of, title_of
from millrace.tasks.documents.pdf.running_lines import without_running_lines
from millrace.tasks.documents.pdf.text_layer import judge_page
from millrace.tasks.documents.recognition import NOT_RECOGNIZED
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Page, Reject

_PAGES_BEFORE_RELEASE = 20
_RECOGNIZE_TEXT = "Run it through text recognition (for instance `ocrmypdf --force-ocr in.pdf out.pdf`), then retry."
_FILE_CPU_S, _PAGE_CPU_S = 600.0, 0.2
_UNKNOWN_RUN = re.compile("\ufffd+")


@dataclass(frozen=True, slots=True)
class PagesRead:
    """A range of pages: the number and text of each that was taken, why others were not, and how many are blank.

    The range that holds the last page has the outline, and the rejects of the outline and the attachments, if any.
    `cpu_s` is the CPU time that reading took.
    """

    taken: tuple[tuple[int, str], ...]
    rejects: tuple[Reject, ...]
    blank: int
    outline: Outline | None = None
    cpu_s: float = 0.0


def check_cpu_time(cpu_s: float, pages: int) -> None:
    """Refuse a file of which `pages` pages took so much CPU to read that it must be hostile.

    Each page has a deadline of its own; this bound is for thousands of pages that barely keep it. It is CPU time, so
    that a busy machine makes no difference. A typical page takes 0.02 s, and a few may take minutes.

    Raises:
        Rejected: "timeout".
    """
    bound_s = _FILE_CPU_S + pages * _PAGE_CPU_S
    if cpu_s > bound_s:
        raise Rejected(
            f"Reading its pages took more than {bound_s:,.0f} s of CPU.",
            reason="timeout",
            remedy="Save it anew in its own program, or split it, then retry.",
        )


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
            rejects.append(abandoned_unit(name, item, skip[item], SAVE_ANEW))
            continue
        at(item)
        check_cpu_time(time.process_time() - began, len(numbers))
        text = _page_text(pdf, number, name, min_page_characters)
        if isinstance(text, Reject):
            rejects.append(text)
        elif text is None:
            blank += 1
        else:
            taken.append((number, text))
        if read % _PAGES_BEFORE_RELEASE == 0:
            pdf.release_pages()
    outline = None
    if numbers and numbers[-1] == pdf.page_count:
        outline = Outline()
        if "outline" in skip:
            rejects.append(abandoned_unit(name, "outline", skip["outline"], SAVE_ANEW))
        else:
            at("outline")
            outline = Outline(one_line(pdf.metadata_title()), tuple(pdf.outline()))
            rejects += _attachments(pdf, name)
    return PagesRead(tuple(taken), tuple(rejects), blank, outline, time.process_time() - began)


def join_pages(
    ranges: Sequence[PagesRead], name: str, *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Extraction | Reject]:
    """The text with its pages, from the ranges of all pages in order, then a Reject for each page that was not taken.

    Raises:
        Rejected: there is no page with text among them.
    """
    rejects = [reject for part in ranges for reject in part.rejects]
    blank = sum(part.blank for part in ranges)
    taken, running_lines = without_running_lines([page for part in ranges for page in part.taken])
    texts = joined_words([text for _, text in taken])
    pages: list[Page] = []
    end = -2
    for (number, _), text in zip(taken, texts, strict=True):
        pages.append(Page(number, end + 2, end + 2 + len(text)))
        end = pages[-1].end
    if not pages and any(reject.reason == NOT_RECOGNIZED for reject in rejects):
        yield from rejects
        return
    if not pages:
        raise _nothing_usable([r for r in rejects if r.item.startswith("page ")], blank)
    text = "\n\n".join(texts)
    outline = next((part.outline for part in ranges if part.outline is not None), Outline())
    if "outline" not in skip:
        at("outline")
    elif not any(reject.item == "outline" for reject in rejects):  # placing the headings hung, not reading the outline
        rejects.append(abandoned_unit(name, "outline", skip["outline"], SAVE_ANEW))
        outline = replace(outline, entries=())
    headings = headings_of(outline.entries, text, pages)
    title = title_of(outline.metadata_title, outline.entries)
    yield Extraction(
        text, title=title, headings=headings, pages=tuple(pages), blank_pages=blank, running_lines=running_lines
    )
    yield from rejects


def _page_text(pdf: OpenPdf, number: int, name: str, min_characters: int) -> str | Reject | None:
    """The page's text, cleaned and stripped, or why it has none; None when it is blank."""
    item = f"page {number}"
    try:
        page = pdf.page(number, min_characters=min_characters)
    except PageDamaged as fault:
        return Reject(
            "read", name, item, "page_damaged", f"The page cannot be read: {str(fault).rstrip('.')}.", SAVE_ANEW
        )
    except MemoryError:
        return Reject("read", name, item, "memory", "The page needs more memory than it may have.", SAVE_ANEW)
    if page.is_bare:
        return None
    problem = judge_page(page.text, image_pixels=page.image_pixels, page_area=page.area, min_characters=min_characters)
    if problem is not None:
        return Reject("read", name, item, problem.reason, problem.message, _RECOGNIZE_TEXT)
    return _UNKNOWN_RUN.sub("\ufffd", searchable(page.text)).strip()


def _attachments(pdf: OpenPdf, name: str) -> list[Reject]:
    names = pdf.attachments()
    if not names:
        return []
    message = f"The file has attached documents, which are not read: {listed_names(names)}."
    return [Reject("read", name, "attachments", "attachments_not_read", message, DETACH)]


def _nothing_usable(rejects: list[Reject], blank: int) -> Rejected:
    """The refusal of a file without one page of text."""
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
        remedy=_RECOGNIZE_TEXT,
    )
