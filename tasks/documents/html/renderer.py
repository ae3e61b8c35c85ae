"""Walk over the elements of an HTML body and write their text."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from millrace.tasks.documents.formats import MAX_TITLE_CHARACTERS
from millrace.tasks.documents.html.elements import (
    BLOCKS,
    DROPPED,
    LINE_NUMBERS,
    LINES,
    LISTS,
    PERMALINKS,
    SECTIONS,
    VERBATIM,
    bounded_text,
    deletions_are_marked,
    description,
    heading_level,
    is_control,
    is_deleted,
    is_hidden,
    is_raised,
    list_mark,
)
from millrace.tasks.documents.html.mathematics import (
    MAX_SCRIPT_CHARACTERS,
    formula,
    is_numerator,
    lowered,
    raised,
    tex_source,
)
from millrace.tasks.documents.html.navigation import (
    BOILERPLATE_ROLES,
    consists_of_links,
    is_named_navigation,
    is_navigation_link,
    is_page_frame,
)
from millrace.tasks.documents.invisible import without_invisible
from millrace.tasks.documents.table import Table
from millrace.tasks.documents.text_builder import TextBuilder

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_MAX_INDENTED_LEVELS = 10

_CELLS = frozenset(["td", "th"])


@dataclass(slots=True)
class _List:
    """An open list; `kind` is the type of an ordered one's numbers, "" for a list with bullets."""

    kind: str = ""
    number: int = 0
    step: int = 1

    def next_mark(self, node: "LexborNode") -> str:
        """What is written before the next item."""
        if not self.kind:
            return "- "
        value = node.attributes.get("value") or ""
        self.number = _integer(value, self.number + self.step)
        return list_mark(self.number, self.kind)


@dataclass(slots=True)
class Renderer:
    """Walks a body once, without recursion, because pages nest deeper than Python's recursion limit."""

    builder: TextBuilder = field(default_factory=TextBuilder)
    _tables: list[Table] = field(default_factory=list)
    """The open tables, outermost first."""
    _lists: list[_List] = field(default_factory=list)
    _sections: int = 0
    _verbatim: list[str] | None = None
    _verbatim_depth: int = 0
    _heading: tuple[int, int] | None = None
    """The open heading: its level, and the builder's number of parts when it opened."""
    _heading_depth: int = 0
    """The number of open elements inside the heading."""
    _examined: int = 0
    """Open elements that looked like navigation, or like a page's frame, and are content."""
    _deletions_are_marked: bool = True
    _in_fraction: bool = False
    _after_navigation: bool = False
    """Whether a navigation link was the last thing that was left out, so that a separator after it goes too."""

    def render(self, body: "LexborNode") -> None:
        """Add all of the body's content to `builder`."""
        self._deletions_are_marked = deletions_are_marked(body)
        node, depth = body, 0
        examined: list[int] = []
        while True:
            tag = node.tag or ""
            before = self._examined
            entered = self._open(node, tag)
            if self._examined > before:
                examined.append(depth)
            child = node.first_child if entered else None
            if child is not None:
                node, depth = child, depth + 1
                continue
            if entered:
                self._close(tag, node)
            if examined and examined[-1] == depth:
                examined.pop()
                self._examined -= 1
            while depth and (sibling := node.next) is None:
                parent = node.parent
                assert parent is not None
                node, depth = parent, depth - 1
                self._close(node.tag or "", node)
                if examined and examined[-1] == depth:
                    examined.pop()
                    self._examined -= 1
            if not depth:
                return
            assert sibling is not None
            node = sibling

    def _open(self, node: "LexborNode", tag: str) -> bool:
        """Account for the beginning of an element; whether to go into it."""
        if tag == "-text":
            self._text(node.text_content or "")
            return False
        if tag.startswith("-") or (tag != "body" and self._is_written_whole_or_left_out(node, tag)):
            return False
        if self._verbatim is not None:
            self._verbatim_depth += 1
            if tag in BLOCKS and self._verbatim and not self._verbatim[-1].endswith("\n"):
                self._verbatim.append("\n")
            return True
        if tag in SECTIONS:
            self._sections += 1
        if self._heading is not None:
            self._heading_depth += 1
            if tag in BLOCKS or tag in LINES:
                self.builder.add_words(" ")
            return True
        self._open_block(node, tag)
        return True

    def _is_written_whole_or_left_out(self, node: "LexborNode", tag: str) -> bool:
        """Whether the element has been dealt with; its children are then of no further interest."""
        if tag == "br":
            self._line_break()
            return True
        if tag in DROPPED and tag != "script":
            return True
        attributes = node.attributes
        if is_hidden(tag, attributes) or self._is_navigation(node, tag, attributes):
            return True
        if tag == "button" and self._heading is None and is_control(node, attributes):
            return True
        written = self._written_whole(node, tag, attributes)
        if written is not None:
            self._add_inline(written)
            return True
        return self._deletions_are_marked and is_deleted(node, tag, attributes)

    def _is_navigation(self, node: "LexborNode", tag: str, attributes: dict[str, str | None]) -> bool:
        if (attributes.get("role") or "").lower() in BOILERPLATE_ROLES:
            return True
        if tag == "a":
            ordinary = self._heading is None and self._verbatim is None
            self._after_navigation = ordinary and is_navigation_link(node, attributes)
            return self._after_navigation
        frame = tag in {"header", "footer"} and not self._sections
        if self._examined or not (frame or is_named_navigation(tag, attributes)):
            return frame and tag == "footer"
        if is_page_frame(node, tag, in_section=bool(self._sections)) or (not frame and consists_of_links(node)):
            return True
        self._examined += 1  # what lies inside is not looked through once more
        return False

    def _written_whole(self, node: "LexborNode", tag: str, attributes: dict[str, str | None]) -> str | None:
        """The text of an element that is written from all of its content at once; None if it is not such a one."""
        if tag == "script":
            is_tex = (attributes.get("type") or "").lower().startswith("math/tex")
            return tex_source(node) if is_tex else ""
        if tag == "math":
            return formula(node)
        if tag == "img":
            alt = description(attributes)
            return f" {alt} " if alt else ""
        script = is_raised(tag, attributes)
        if (script or tag == "sub") and bounded_text(node, MAX_SCRIPT_CHARACTERS) is not None:
            self._in_fraction = script and is_numerator(node)
            return raised(node, self._last_character()) if script else lowered(node, self._last_character())
        return None

    def _last_character(self) -> str:
        """The character that the next word will stand directly behind; "" if white space comes between."""
        if self._verbatim is not None:
            return self._verbatim[-1][-1:] if self._verbatim else ""
        pending = self.builder.pending_lines or self.builder.pending_space or self.builder.bullet
        return "" if pending else self.builder.last

    def _add_inline(self, text: str) -> None:
        if self._verbatim is not None:
            self._verbatim.append(text)
        else:
            self.builder.add_words(text)

    def _open_block(self, node: "LexborNode", tag: str) -> None:
        level = heading_level(node, tag)
        if tag in LISTS:
            self.builder.break_line(1 if self._lists else 2)
            self._lists.append(_opened_list(node, tag))
        elif tag in BLOCKS or level:
            self.builder.break_line(2)
        elif tag in LINES:
            self.builder.break_line(1)
        if level:
            self.builder.structured = True
            self.builder.bullet = ""  # a heading that is a list's item
            self._heading = (level, len(self.builder.parts))
        elif tag in VERBATIM:
            self._verbatim, self._verbatim_depth = [], 0
        elif tag == "li":
            mark = self._lists[-1].next_mark(node) if self._lists else "- "
            self.builder.bullet = "  " * min(max(len(self._lists) - 1, 0), _MAX_INDENTED_LEVELS) + mark
        elif tag == "table":
            self.builder.structured = True
            self._tables.append(Table(self.builder))
        elif tag == "tr" and self._tables:
            self._tables[-1].rows.append([])
        elif tag in _CELLS and self._tables and self._tables[-1].rows:
            self.builder = TextBuilder()

    def _close(self, tag: str, node: "LexborNode") -> None:
        if self._verbatim is not None:
            self._close_in_verbatim(tag)
            return
        if tag in SECTIONS:
            self._sections -= 1
        if self._heading is None:
            self._close_block(tag, node)
        elif not self._heading_depth:
            self._close_heading()
        else:
            self._heading_depth -= 1
            if tag in BLOCKS or tag in LINES:
                self.builder.add_words(" ")

    def _close_block(self, tag: str, node: "LexborNode") -> None:
        if tag in _CELLS and self._tables and self._tables[-1].rows:
            table = self._tables[-1]
            table.add_cell(
                self.builder,
                columns=_number(node.attributes.get("colspan")),
                rows=_number(node.attributes.get("rowspan")),
                heads=tag == "th",
            )
            self.builder = table.surrounding
        elif tag == "table" and self._tables:
            self.builder = self._tables.pop().add_to_surrounding()
        if tag in LISTS:
            self._lists.pop()
            self.builder.break_line(1 if self._lists else 2)
        elif tag in BLOCKS:
            self.builder.break_line(2)
        elif tag in LINES:
            self.builder.bullet = ""
            self.builder.break_line(1)

    def _close_in_verbatim(self, tag: str) -> None:
        assert self._verbatim is not None
        if self._verbatim_depth:
            self._verbatim_depth -= 1
            if tag in BLOCKS and self._verbatim and not self._verbatim[-1].endswith("\n"):
                self._verbatim.append("\n")
            return
        text = "".join(self._verbatim).strip("\n")
        self._verbatim = None
        # Listings put their line numbers into a block of their own.
        if text.strip() and not (self._tables and LINE_NUMBERS.fullmatch(text)):
            self.builder.structured = True
            self.builder.add_verbatim(text)
        self.builder.break_line(2)

    def _close_heading(self) -> None:
        assert self._heading is not None
        level, part = self._heading
        self._heading = None
        self.builder.mark_heading(level, part, MAX_TITLE_CHARACTERS)
        self.builder.break_line(2)

    def _text(self, raw: str) -> None:
        if self._in_fraction:
            self._in_fraction = False
            raw = "/"
        if self._after_navigation and not any(character.isalnum() for character in raw):
            return
        self._after_navigation = False
        raw = without_invisible(raw)
        if self._verbatim is not None:
            self._verbatim.append(raw)
        elif not (self._heading is not None and raw.strip() in PERMALINKS):
            self.builder.add_words(raw)

    def _line_break(self) -> None:
        if self._verbatim is not None:
            self._verbatim.append("\n")
        elif self._heading is not None:
            self.builder.add_words(" ")
        else:
            self.builder.break_line(1 if not self.builder.pending_lines else 2)


def _opened_list(node: "LexborNode", tag: str) -> _List:
    attributes = node.attributes
    if tag != "ol" or "list-style: none" in (attributes.get("style") or "").replace(
        "list-style:none", "list-style: none"
    ):
        return _List()
    step = -1 if "reversed" in attributes else 1
    first = sum(1 for item in node.iter() if item.tag == "li") if step < 0 and "start" not in attributes else 1
    return _List(attributes.get("type") or "1", _integer(attributes.get("start") or "", first) - step, step)


def _integer(value: str, default: int) -> int:
    digits = value.strip()
    bare = digits.removeprefix("-")
    return int(digits) if bare.isascii() and bare.isdecimal() and len(bare) < 10 else default


def _number(value: str | None) -> int:
    """What an attribute says, 1 if it says nothing that can be used."""
    digits = (value or "").strip()[:6]
    return int(digits) if digits.isascii() and digits.isdecimal() else 1
