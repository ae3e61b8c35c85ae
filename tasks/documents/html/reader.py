"""HTML to text: the content that a reader of the page sees, with its headings, lists and tables.

**Left out**: elements that are never shown (`script`, `style`, `noscript`, `template`, elements that are `hidden` or
hidden by their style, decorations marked `aria-hidden`), form controls, embedded media and drawings, and navigation
(`nav`, the roles of `BOILERPLATE_ROLES`, and the `header` and `footer` of the page itself, which are in no `article`,
`main`, `section` or `aside`; a header that holds an `h1` stays). Everything else in the body is read: preferring `main`
or one `article` would lose what pages keep beside it.

**Kept**: white space collapses as in a browser (a line break between Chinese characters vanishes, as in CSS Text 4).
Blocks become paragraphs with a blank line between them, `br` a new line, list items lines that begin with "- ", table
rows lines with " | " between the cells; `pre` is unchanged. A table whose cells hold headings, tables, code or long
passages is there for the layout, so its cells become paragraphs.
"""

import re
from typing import TYPE_CHECKING

from millrace.tasks.documents.formats import MAX_TITLE_CHARACTERS, Extraction
from millrace.tasks.documents.html.renderer import Renderer
from millrace.tasks.documents.html.source import repaired_source
from millrace.tasks.errors import Rejected

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_CHARSET = re.compile(
    rb"""<meta[^>]{0,500}?charset\s*=\s*["']?\s*([\w.:-]+)"""
    rb"""|<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]+)""",
    re.IGNORECASE,
)
_CHARSET_SEARCH_BYTES = 4096  # browsers look at 1,024; real pages put comments before it


def declared_charset(data: bytes) -> str | None:
    """The encoding that the page names in its `<meta>` or XML declaration, as it spells it; None if it names none."""
    found = _CHARSET.search(data, 0, _CHARSET_SEARCH_BYTES)
    if found is None:
        return None
    name = (found[1] or found[2]).decode("ascii", "replace")
    # A page in which the ASCII letters "charset" were found is not in UTF-16, whatever it says.
    return "utf-8" if name.lower().startswith("utf-16") else name


def read_html(markup: str) -> Extraction:
    """The page's content as text; the title is `<title>`, else the first `h1`, else the first heading.

    Raises:
        Rejected: the page is a frameset, which has no text of its own.
    """
    from selectolax.lexbor import LexborHTMLParser

    parser = LexborHTMLParser(repaired_source(markup))
    if (frameset := parser.css_first("frameset")) is not None:
        raise _frameset_reject(frameset)
    renderer = Renderer()
    if parser.body is not None:
        renderer.render(parser.body)
    text, headings, tables = renderer.builder.finish()
    head_title = parser.head.css_first("title") if parser.head is not None else None
    title = " ".join(head_title.text().split())[:MAX_TITLE_CHARACTERS] if head_title is not None else ""
    if not title and headings:
        title = next((h for h in headings if h.level == 1), headings[0]).title
    return Extraction(text, title=title, headings=headings, tables=tables)


def _frameset_reject(frameset: "LexborNode") -> Rejected:
    addresses = [frame.attributes.get("src") for frame in frameset.css("frame")[:5]]
    named = ", ".join(address for address in addresses if address)
    return Rejected(
        "The page is a frameset: it only arranges other pages in frames.",
        reason="no_text",
        remedy=f"Add the pages that its frames show{f' ({named})' if named else ''}, and leave this one out.",
    )
