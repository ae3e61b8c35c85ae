"""A walk over the elements of an HTML body: which are content, and what each means for the text."""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks.documents.html_sink import SPACES, Sink
from tasks.documents.markdown import MAX_TITLE_CHARACTERS
from tasks.records import Heading

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

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
