"""The text of a mail: of alternatives the better one, and all parts that are shown one after the other.

**Which alternative.** The plain text, unless it has less than half as many characters as the HTML shows (white space
and addresses of the web aside): programs put a line such as "This mail is in HTML" there. Then the HTML, as a page.

**Quoted replies** stay where they are and are there once, since one alternative is read; see `quotes`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from millrace.tasks.documents.encoding import decode
from millrace.tasks.documents.formats import Extraction
from millrace.tasks.documents.html import declared_charset, read_html
from millrace.tasks.documents.invisible import has_visible_text
from millrace.tasks.documents.mail.quotes import quoted_sections
from millrace.tasks.documents.markup import readable
from millrace.tasks.records import Heading

_UNCOUNTED = re.compile(r"\s+|https?://\S+")
_FAR_SHORTER = 0.5


@dataclass(frozen=True, slots=True)
class BodyText:
    """The bytes of one shown part, and the charset that it names, if any."""

    data: bytes
    charset: str
    is_html: bool


def read_body(body: BodyText) -> Extraction:
    """The text of a shown part, of HTML that of the page; an empty one is empty.

    Raises:
        Rejected: its encoding is not known.
    """
    if not body.data.strip():
        return Extraction("")
    if body.is_html:
        return read_html(decode(body.data, declared=body.charset or declared_charset(body.data)))
    text = readable(decode(body.data, declared=body.charset or None))
    return Extraction(text.replace("\r\n", "\n").strip("\n"))


def better(plain: Extraction, html: Extraction) -> Extraction:
    """Which of two alternatives is read."""
    return html if _shown_characters(plain) < _FAR_SHORTER * _shown_characters(html) else plain


def _shown_characters(found: Extraction) -> int:
    return len(_UNCOUNTED.sub("", found.text)) if has_visible_text(found.text) else 0


def joined(parts: Iterable[Extraction]) -> Extraction:
    """The parts one after the other, with what they quote as sections of their own."""
    texts: list[str] = []
    found = Extraction("")
    offset = 0
    for part in parts:
        if not has_visible_text(part.text):
            continue
        texts.append(part.text)
        found = replace(
            found,
            headings=(*found.headings, *(replace(each, start=each.start + offset) for each in _sections(part))),
            tables=(
                *found.tables,
                *(replace(t, start=t.start + offset, body=t.body + offset, end=t.end + offset) for t in part.tables),
            ),
        )
        offset += len(part.text) + 2
    return replace(found, text="\n\n".join(texts))


def _sections(part: Extraction) -> Iterator[Heading]:
    """The headings of a part, and those of what it quotes."""
    own = {heading.start for heading in part.headings}
    quoted = (heading for heading in quoted_sections(part.text) if heading.start not in own)
    yield from sorted((*part.headings, *quoted), key=lambda heading: heading.start)
