"""Whether the text layer of a PDF page is language, or debris of fonts whose glyphs no reader can map to characters.

A page of debris becomes a Reject: its text must never be embedded, because no search could find it again.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PageProblem:
    """Why a page cannot be taken: a stable `reason`, and what was found."""

    reason: str
    message: str


_GLYPH_CODE = re.compile(
    r"\(cid:\d+\)|/(?:[A-Za-z]{1,3}\d{1,5}|uni[0-9A-Fa-f]{4,6}|cid\d+|glyph\d+|g\d+)(?![\w.])", re.IGNORECASE
)
_PRIVATE_USE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010fffd]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\ufdd0-\ufdef\ufffe\uffff]")
_ACCENTED = re.compile("[\xc0-\xd6\xd8-\xf6\xf8-\xff]")  # in Icelandic, one letter in eight; in mojibake, half
_REPLACEMENT = re.compile("\ufffd")
_SPACE = re.compile(r"\s+")


def judge_page(text: str, *, image_pixels: int, page_area: float, min_characters: int) -> PageProblem | None:
    """Why the page's text cannot be used; None when it can.

    `image_pixels` is the number of pixels of all images on the page, `page_area` its size in square points: images
    that would cover the page at 72 dots per inch with hardly a character beside them are a scan.
    """
    letters = _SPACE.sub("", text)
    if not letters:
        if image_pixels:
            return PageProblem("page_scanned", "The page holds images and no text.")
        return PageProblem("page_empty", "The page holds drawings, but neither text nor images.")
    for reason, what, pattern, share in (
        ("page_glyph_codes", "glyph codes such as (cid:12) or /G21", _GLYPH_CODE, 0.3),
        ("page_replacement_characters", "replacement characters (U+FFFD)", _REPLACEMENT, 0.2),
        ("page_private_use", "private-use characters", _PRIVATE_USE, 0.2),
        ("page_mojibake", "accented letters, as of Chinese read in a Western encoding", _ACCENTED, 0.4),
        ("page_control_characters", "control characters", _CONTROL, 0.1),
    ):
        found = sum(len(m) for m in pattern.findall(letters))
        if found >= share * len(letters):
            percent = round(100 * found / len(letters))
            return PageProblem(reason, f"{percent} % of the page's {len(letters)} characters are {what}.")
    if len(letters) < min_characters and image_pixels >= page_area > 0:
        return PageProblem(
            "page_scanned", f"The page is an image with {len(letters)} characters of text, fewer than {min_characters}."
        )
    return None
