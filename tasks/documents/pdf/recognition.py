"""Text recognition of the pages that have no text layer to be used (`documents.ocr`): only those, one at a time.

A page is drawn by pdfium and recognized by `recognition`; what was found is kept at once, because a page takes seconds.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from millrace.tasks.documents.options import DocumentOptions
from millrace.tasks.documents.parsed import ParsedFiles
from millrace.tasks.documents.pdf.picture import page_pictures
from millrace.tasks.documents.pdf.reader import PagesRead
from millrace.tasks.documents.recognition import ENGINE, NOT_RECOGNIZED, recognize
from millrace.tasks.errors import Rejected
from millrace.tasks.records import SourceFile

_NO_TEXT_LAYER = frozenset(
    {
        *("page_scanned", "page_empty", "page_glyph_codes", "page_replacement_characters", "page_private_use"),
        *("page_mojibake", "page_control_characters"),
    }
)
_DPI = 150
"""At which the samples have fewest errors: 0.2 % of characters and less, 4.5 to 5.5 s of CPU a page; 200 has more."""


def with_recognized(
    read: PagesRead,
    file: SourceFile,
    digest: str,
    options: DocumentOptions,
    *,
    parsed: ParsedFiles,
    skip: Mapping[str, str],
    at: Callable[[str], None],
) -> PagesRead:
    """The pages, with those taken in which text was recognized; `digest` is the SHA-256 (hex) of the file.

    Its CPU time is no part of `cpu_s`, whose bound is for reading.
    """
    if options.ocr == "off":
        return read
    taken, rejects, blank = list(read.taken), [], read.blank
    for reject in read.rejects:
        unit = f"text recognition of {reject.item}"
        if reject.reason not in _NO_TEXT_LAYER or unit in skip:
            rejects.append(reject)
            continue
        number = int(reject.item.removeprefix("page "))
        kept = parsed.recall("ocr", digest, str(number), ENGINE)
        if kept is None and not options.may_recognize:
            rejects.append(replace(reject, reason=NOT_RECOGNIZED))
            continue
        if kept is None:
            at(unit)
            kept = _recognized(file, number).encode()
            parsed.keep(kept, "ocr", digest, str(number), ENGINE)
        if kept:
            taken.append((number, kept.decode()))
        elif reject.reason == "page_empty":
            blank += 1  # drawings, and no word in them
        else:
            rejects.append(replace(reject, message=f"{reject.message} Text recognition found no text in it."))
    return replace(read, taken=tuple(sorted(taken)), rejects=tuple(rejects), blank=blank)


def _recognized(file: SourceFile, number: int) -> str:
    try:
        return recognize(next(page_pictures(file, [number], dpi=_DPI)))
    except Rejected:  # it cannot be drawn; the page's own reject stays
        return ""
