"""Picture files to text, by text recognition (`documents.ocr = "all"`)."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from millrace.tasks.documents.formats import Extraction, Member, abandoned_unit
from millrace.tasks.documents.recognition import recognize
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Page, Reject

MAX_PIXELS = 100_000_000
"""A picture of more is not decoded; a scanned A2 page at 600 dpi has 140 million, at 400 dpi 62 million."""

_MAX_SIDE = 4_000


def read_picture(
    opened: BinaryIO, name: str, *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Extraction | Member | Reject]:
    """The text in the picture, or in those of a TIFF, each of which is a page.

    Raises:
        Rejected: "damaged", "too_large", "no_text".
    """
    from PIL import Image, ImageOps, ImageSequence

    rejects: list[Reject] = []
    texts: list[tuple[int, str]] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(opened)
        if picture.width * picture.height > MAX_PIXELS:
            raise Rejected(
                f"The picture has {picture.width:,} times {picture.height:,} pixels; {MAX_PIXELS:,} are read.",
                reason="too_large",
                remedy="Scale it down, or cut it.",
            )
        frames = ImageSequence.Iterator(picture) if picture.format == "TIFF" else [picture]
        for number, frame in enumerate(frames, start=1):
            item = f"page {number}"
            if item in skip:
                rejects.append(abandoned_unit(name, item, skip[item], "Save it again in its own program, then retry."))
                continue
            at(item)
            upright = ImageOps.exif_transpose(frame.convert("RGB"))
            upright.thumbnail((_MAX_SIDE, _MAX_SIDE))
            if text := recognize(upright):
                texts.append((number, text))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Rejected(
            f"The picture cannot be decoded ({error}).", reason="damaged", remedy="Save it again, then retry."
        ) from error
    if not texts and not rejects:
        raise Rejected(
            "No text was recognized in the picture.",
            reason="no_text",
            remedy='Leave it out with sources.exclude, or read only pages of PDF so: documents.ocr = "pages".',
        )
    pages, end = [], -2
    for number, text in texts:
        pages.append(Page(number, end + 2, end + 2 + len(text)))
        end = pages[-1].end
    if texts:
        yield Extraction("\n\n".join(text for _, text in texts), pages=tuple(pages) if len(texts) > 1 else ())
    yield from rejects
