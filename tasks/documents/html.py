"""HTML to text: what a reader of the page would call its content, with headings, lists and tables in place.

**Left out**: what is never shown (`script`, `style`, `noscript`, `template`, elements that are `hidden` or styled away,
decorations marked `aria-hidden`), form controls, embedded media and drawings, and navigation (`nav`, the roles of
`BOILERPLATE_ROLES`, and the page's own `header` and `footer`: those in no `article`, `main`, `section` or `aside`; a
header that holds an `h1` stays). The whole of the body is read otherwise: preferring `main` or one `article` would lose
what pages keep beside it.

**Kept**: white space collapses as in a browser (and a line break between two Chinese characters vanishes, as in CSS
Text 4); blocks become paragraphs with a blank line between them, `br` a new line, list items lines that begin with
"- ", table rows lines with " | " between the cells, `pre` stays as it is. A table whose cells hold headings, tables,
code or long passages is there for the layout, so its cells become paragraphs.
"""

import re

from tasks.documents.extraction import Extraction
from tasks.documents.html_renderer import Renderer
from tasks.documents.markdown import MAX_TITLE_CHARACTERS

MAX_DEPTH = 1000
"""Container tags nested deeper are dropped before parsing, whose time grows with the square of the depth.

Browsers flatten at 512 (Chromium's `kMaximumHTMLParserDOMTreeDepth`).
"""

_CHARSET = re.compile(
    rb"""<meta[^>]{0,500}?charset\s*=\s*["']?\s*([\w.:-]+)"""
    rb"""|<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]+)""",
    re.IGNORECASE,
)
_CHARSET_SEARCH_BYTES = 4096  # browsers look at 1,024; real pages put comments before it
_CONTAINER = re.compile(
    r"<(?P<close>/?)(?P<tag>div|ul|ol|dl|section|article|aside|blockquote|main|form|fieldset|figure|details|center|menu|"
    r"nav|header|footer|button|table|td|th|object|font|span|address|pre)\b[^<>]*>",
    re.IGNORECASE,
)
_OVERLONG_TAG = re.compile(r"<([a-zA-Z][\w-]*)\s[^<>]{20000,}>")  # the parser compares each attribute with all others
_SELF_CLOSED = re.compile(
    r"<(?!(?:br|hr|img|input|link|meta|area|base|col|embed|source|track|wbr|param)\b)([a-zA-Z][\w:-]*)([^<>]*)/>"
)


def declared_charset(data: bytes) -> str | None:
    """The encoding that the page names in its `<meta>` or XML declaration, in its own spelling; None without."""
    found = _CHARSET.search(data, 0, _CHARSET_SEARCH_BYTES)
    if found is None:
        return None
    name = (found[1] or found[2]).decode("ascii", "replace")
    # A page that could be searched for the letters "charset" is not in UTF-16, whatever it says.
    return "utf-8" if name.lower().startswith("utf-16") else name


def read_html(markup: str) -> Extraction:
    """The page's content as text; the title is `<title>`, else the first `h1`, else the first heading."""
    from selectolax.lexbor import LexborHTMLParser

    if markup.lstrip()[:5].lower() == "<?xml":
        markup = _SELF_CLOSED.sub(r"<\1\2></\1>", markup)
    parser = LexborHTMLParser(_flattened(_OVERLONG_TAG.sub(r"<\1>", markup)))
    renderer = Renderer()
    if parser.body is not None:
        renderer.render(parser.body)
    text, headings = renderer.sink.text(), tuple(renderer.sink.headings)
    head_title = parser.head.css_first("title") if parser.head is not None else None
    title = " ".join(head_title.text().split())[:MAX_TITLE_CHARACTERS] if head_title is not None else ""
    if not title and headings:
        title = next((h for h in headings if h.level == 1), headings[0]).title
    return Extraction(text, title=title, headings=headings)


def _flattened(markup: str) -> str:
    """The markup without the container tags that lie deeper than `MAX_DEPTH`."""
    if markup.count("<") <= MAX_DEPTH:
        return markup
    depth, too_deep = 0, False
    for tag in _CONTAINER.finditer(markup):
        depth = max(depth - 1, 0) if tag["close"] else depth + 1
        if depth > MAX_DEPTH:
            too_deep = True
            break
    if not too_deep:
        return markup
    depth = 0

    def shallow(tag: re.Match[str]) -> str:
        nonlocal depth
        if tag["close"]:
            depth = max(depth - 1, 0)
            return tag[0] if depth < MAX_DEPTH else " "
        depth += 1
        return tag[0] if depth <= MAX_DEPTH else " "

    return _CONTAINER.sub(shallow, markup)
