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

Text under construction: white space, paragraphs and bullets as a browser would place them.

A walk over the elements of an HTML body: which are content, and what each means for the text.
"""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from millrace.tasks.documents.formats import Extraction
from millrace.tasks.documents.markup import MAX_TITLE_CHARACTERS
from millrace.tasks.records import Heading

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode


SPACES = re.compile(r"[ \t\n\r\f]+")
_WHITE = " \t\n\r\f"

_WIDE = (
    "\u2e80-\u303f\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
)
_BREAK_BETWEEN_WIDE = re.compile(rf"(?<=[{_WIDE}])[ \t]*[\n\r][ \t\n\r]*(?=[{_WIDE}])")
_IS_WIDE = re.compile(f"[{_WIDE}]")


@dataclass(slots=True)
class Sink:
    """Text under construction: breaks and spaces are owed until the next word comes, so none begins or ends it."""

    parts: list[str] = field(default_factory=list)
    length: int = 0
    headings: list[Heading] = field(default_factory=list)
    owed_lines: int = 0
    owed_space: str = ""  # " ", or "\n" when the white space held a line break
    bullet: str = ""
    paragraphs: int = 0
    structured: bool = False
    """Holds what does not go into one line of a table."""

    def text(self) -> str:
        """What has been written so far."""
        return "".join(self.parts)

    def break_line(self, lines: int) -> None:
        """Begin a new line (1) or a new paragraph (2) before the next word."""
        self.owed_lines = max(self.owed_lines, lines)
        self.owed_space = ""

    def words(self, raw: str) -> None:
        """Add text whose white space collapses."""
        bare = raw.strip(_WHITE)
        leading = raw[: len(raw) - len(raw.lstrip(_WHITE))]
        if leading and self.owed_space != " ":
            self.owed_space = "\n" if "\n" in leading else " "
        if bare:
            text = SPACES.sub(" ", _BREAK_BETWEEN_WIDE.sub("", bare))
            self._begin(text)
            self._add(text)
            trailing = raw[len(raw.rstrip(_WHITE)) :]
            self.owed_space = ("\n" if "\n" in trailing else " ") if trailing else ""

    def verbatim(self, text: str) -> None:
        """Add text as it is."""
        self._begin(text)
        self._add(text)

    def append(self, other: "Sink") -> None:
        """Add a finished text with its headings as blocks of its own."""
        text = other.text()
        self.break_line(2)
        self._begin(text)
        self.headings.extend(Heading(h.level, h.title, h.start + self.length) for h in other.headings)
        self._add(text)
        self.break_line(2)

    def _begin(self, upcoming: str) -> None:
        if self.length and self.owed_lines:
            self._add("\n" * self.owed_lines)
            self.paragraphs += self.owed_lines > 1
        elif self.length and self.owed_space and not self.parts[-1].endswith("\n"):
            between_wide = self.owed_space == "\n" and _IS_WIDE.match(self.parts[-1][-1]) and _IS_WIDE.match(upcoming)
            if not between_wide:
                self._add(" ")
        if self.bullet:
            self._add(self.bullet)
        self.owed_lines, self.owed_space, self.bullet = 0, "", ""

    def _add(self, text: str) -> None:
        self.parts.append(text)
        self.length += len(text)


BOILERPLATE_ROLES = frozenset(["navigation", "banner", "contentinfo", "search", "menu", "menubar"])

_DROPPED = frozenset(
    [
        "script", "style", "noscript", "template", "nav", "svg", "canvas", "video", "audio", "iframe", "object",
        "embed", "applet", "select", "datalist", "input", "textarea", "progress", "meter", "head", "title",
        "link", "meta", "base", "noframes", "annotation", "annotation-xml",
    ]
)  # fmt: skip
_BLOCKS = frozenset(
    [
        "address", "article", "aside", "blockquote", "body", "caption", "center", "details", "dialog", "dir",
        "div", "dl", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6",
        "header", "hgroup", "hr", "html", "legend", "main", "menu", "ol", "optgroup", "p", "pre", "listing",
        "xmp", "plaintext", "search", "section", "summary", "table", "ul",
    ]
)  # fmt: skip
_LINES = frozenset(["li", "dt", "dd", "tr"])
_SECTIONS = frozenset(["article", "main", "section", "aside", "blockquote", "details", "dialog", "figure", "td"])
_HEADINGS = {f"h{n}": n for n in range(1, 7)}
_VERBATIM = frozenset(["pre", "listing", "xmp", "plaintext"])
_LISTS = frozenset(["ul", "ol", "menu", "dir"])
_CELLS = frozenset(["td", "th"])

_STYLED_AWAY = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))", re.IGNORECASE)
_LINE_NUMBERS = re.compile(r"[\d\s]+")
_PERMALINKS = frozenset(["¶", "§", "#", "🔗", "⚓", "Permalink"])


@dataclass(slots=True)
class _Row:
    """A table row whose cells are being read: the text around it, and the cells that are finished."""

    around: Sink
    cells: list[Sink] = field(default_factory=list)

    def written(self) -> Sink:
        """The text around, with the row added: a line if it holds data, paragraphs if it lays out the page."""
        filled = [cell for cell in self.cells if cell.length]
        if len(self.cells) == 1 or any(c.structured or c.paragraphs > 3 or c.length > 1000 for c in filled):
            for cell in filled:
                self.around.append(cell)
        elif filled:
            self.around.break_line(1)
            self.around.verbatim(" | ".join(SPACES.sub(" ", cell.text()) for cell in self.cells))
            self.around.break_line(1)
        return self.around


@dataclass(slots=True)
class Renderer:
    """Walks a body once, without recursion: pages nest deeper than Python may."""

    sink: Sink = field(default_factory=Sink)
    _rows: list["_Row"] = field(default_factory=list)
    """The table rows that are open, outermost first."""
    _sections: int = 0
    _lists: int = 0
    _verbatim: list[str] | None = None
    _verbatim_depth: int = 0
    _heading: tuple[int, int, int] | None = None
    """Level, number of parts and length when it opened."""

    def render(self, body: "LexborNode") -> None:
        """Add all of the body's content to `sink`."""
        node, depth = body, 0
        while True:
            tag = node.tag or ""
            entered = self._open(node, tag)
            child = node.first_child if entered else None
            if child is not None:
                node, depth = child, depth + 1
                continue
            if entered:
                self._close(tag, node)
            while depth and (sibling := node.next) is None:
                parent = node.parent
                assert parent is not None
                node, depth = parent, depth - 1
                self._close(node.tag or "", node)
            if not depth:
                return
            assert sibling is not None
            node = sibling

    def _open(self, node: "LexborNode", tag: str) -> bool:
        """Whether to go into the node; its opening has then been accounted for."""
        if tag == "-text":
            self._text(node.text_content or "")
            return False
        if tag.startswith("-") or tag in _DROPPED or (tag != "body" and self._is_left_out(node, tag)):
            return False
        if tag == "br":
            self._line_break()
            return False
        if self._verbatim is not None:
            self._verbatim_depth += 1
            if tag in _BLOCKS and self._verbatim and not self._verbatim[-1].endswith("\n"):
                self._verbatim.append("\n")
            return True
        if tag in _SECTIONS:
            self._sections += 1
        if self._heading is not None:
            if tag in _BLOCKS or tag in _LINES:
                self.sink.words(" ")
            return True
        self._open_block(node, tag)
        return True

    def _open_block(self, node: "LexborNode", tag: str) -> None:
        level = _level(node, tag)
        if tag in _LISTS:
            self.sink.break_line(1 if self._lists else 2)
            self._lists += 1
        elif tag in _BLOCKS or level:
            self.sink.break_line(2)
        elif tag in _LINES:
            self.sink.break_line(1)
        if level:
            self.sink.structured = True
            self._heading = (level, len(self.sink.parts), self.sink.length)
        elif tag in _VERBATIM:
            self._verbatim, self._verbatim_depth = [], 0
        elif tag == "li":
            self.sink.bullet = "  " * max(self._lists - 1, 0) + "- "
        elif tag == "table":
            self.sink.structured = True
        elif tag == "tr":
            self._rows.append(_Row(self.sink))
        elif tag in _CELLS and self._rows:
            self.sink = Sink()

    def _close(self, tag: str, node: "LexborNode") -> None:
        if self._verbatim is not None:
            self._close_in_verbatim(tag)
            return
        if tag in _SECTIONS:
            self._sections -= 1
        if self._heading is None:
            self._close_block(tag)
        elif _level(node, tag):
            self._close_heading()
        elif tag in _BLOCKS or tag in _LINES:
            self.sink.words(" ")

    def _close_block(self, tag: str) -> None:
        if tag in _CELLS and self._rows:
            row = self._rows[-1]
            row.cells.append(self.sink)
            self.sink = row.around
        elif tag == "tr":
            self.sink = self._rows.pop().written()
        if tag in _LISTS:
            self._lists -= 1
            self.sink.break_line(1 if self._lists else 2)
        elif tag in _BLOCKS:
            self.sink.break_line(2)
        elif tag in _LINES:
            self.sink.bullet = ""
            self.sink.break_line(1)

    def _close_in_verbatim(self, tag: str) -> None:
        assert self._verbatim is not None
        if self._verbatim_depth:
            self._verbatim_depth -= 1
            if tag in _BLOCKS and self._verbatim and not self._verbatim[-1].endswith("\n"):
                self._verbatim.append("\n")
            return
        text = "".join(self._verbatim).strip("\n")
        self._verbatim = None
        # Listings put their line numbers into a block of their own.
        if text.strip() and not (self._rows and _LINE_NUMBERS.fullmatch(text)):
            self.sink.structured = True
            self.sink.verbatim(text)
        self.sink.break_line(2)

    def _close_heading(self) -> None:
        assert self._heading is not None
        level, parts, start = self._heading
        self._heading = None
        written = "".join(self.sink.parts[parts:])
        title = written.strip()
        if title:
            start += len(written) - len(written.lstrip())
            self.sink.headings.append(Heading(level, title[:MAX_TITLE_CHARACTERS], start))
        self.sink.break_line(2)

    def _text(self, raw: str) -> None:
        if self._verbatim is not None:
            self._verbatim.append(raw)
        elif not (self._heading is not None and raw.strip() in _PERMALINKS):
            self.sink.words(raw)

    def _line_break(self) -> None:
        if self._verbatim is not None:
            self._verbatim.append("\n")
        elif self._heading is not None:
            self.sink.words(" ")
        else:
            self.sink.break_line(1 if not self.sink.owed_lines else 2)

    def _is_left_out(self, node: "LexborNode", tag: str) -> bool:
        """Whether the element is hidden, a control, or part of the page's frame rather than its content."""
        if tag in {"header", "footer"} and not self._sections:
            return tag == "footer" or node.css_first("h1") is None
        if tag == "button":
            return self._heading is None
        attributes = node.attributes
        if not attributes:
            return False
        hidden = "hidden" in attributes and attributes["hidden"] != "until-found"
        decoration = attributes.get("aria-hidden") == "true" and tag not in _BLOCKS
        role = (attributes.get("role") or "").lower()
        style = attributes.get("style")
        return hidden or decoration or role in BOILERPLATE_ROLES or bool(style and _STYLED_AWAY.search(style))


def _level(node: "LexborNode", tag: str) -> int:
    """The level of a heading element; 0 for any other."""
    if tag in _HEADINGS:
        return _HEADINGS[tag]
    if tag in {"div", "p"} and node.attributes.get("role") == "heading":
        level = node.attributes.get("aria-level") or "2"
        return min(max(int(level), 1), 9) if level.isdecimal() else 2
    return 0


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
