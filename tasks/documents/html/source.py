"""Changes to a page's source before it is parsed, where the parser would take too long or read it wrongly.

One pass over the tags, in a time that grows with the length of the source. The parser (lexbor) compares each attribute
of a tag with all others, looks through all open elements at many a tag, and opens unclosed formatting elements again in
each paragraph; so tags of very many attributes lose them, and elements that are nested very deep lose their tags.
"""

import html
import re
from collections import Counter
from dataclasses import dataclass, field

MAX_DEPTH = 512
"""Elements nested deeper lose their tags, as in browsers (Chromium's `kMaximumHTMLParserDOMTreeDepth`)."""
_MAX_FORMATTING = 8
"""Formatting elements that may be open at once: they are opened again in each paragraph, so their number multiplies."""
_MAX_ATTRIBUTE_CHARACTERS = 1_000
"""Quoted values aside."""
_FEW_TAGS, _SHORT_SOURCE = 200, 20_000
"""Up to both, a page takes no time worth a look, whatever is in it."""

_MARKUP = re.compile(r"<(?:(?P<close>/?)(?P<name>[a-zA-Z][^\s/>]*+)|[/!?])")
# Quotes count only after an equals sign. The last two alternatives let an unclosed quote be an ordinary character.
_REST_OF_TAG = re.compile(r"""(?:[^=>]++|=\s*+(?:"[^"]*+"|'[^']*+')|=)*+>""")
_QUOTED = re.compile(r"""=\s*+(?:"[^"]*+"|'[^']*+')""")
_COMMENT_END = re.compile(r"--!?>")
_RAW_TEXT_END = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE)
    for name in ("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes")
}

_VOID = frozenset(
    ["area", "base", "basefont", "bgsound", "br", "col", "embed", "frame", "hr", "img", "input", "keygen", "link",
     "meta", "param", "source", "track", "wbr"]
)  # fmt: skip
_FORMATTING = frozenset(
    ["a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"]
)
_SPECIAL = frozenset(
    ["address", "applet", "article", "aside", "blockquote", "body", "button", "caption", "center", "colgroup", "dd",
     "details", "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "frameset", "h1", "h2",
     "h3", "h4", "h5", "h6", "head", "header", "hgroup", "html", "li", "listing", "main", "marquee", "menu", "nav",
     "noscript", "object", "ol", "p", "pre", "search", "section", "select", "summary", "table", "tbody", "td",
     "template", "tfoot", "th", "thead", "tr", "ul"]
)  # fmt: skip
_SCOPES = frozenset(["applet", "caption", "html", "table", "td", "th", "marquee", "object", "template"])
_PARAGRAPH = frozenset(["p"])
_CLOSES_PARAGRAPH = _SPECIAL - {"p", "td", "th", "tr", "button", "body", "html", "head"}
_ROWS = frozenset(["td", "th", "tr"])
_SECTIONS = frozenset(["tbody", "thead", "tfoot", "caption", "colgroup"])
_IN_TABLES = _ROWS | _SECTIONS
_ENDS_IMPLIED = {
    "p": frozenset(["p"]),
    "li": frozenset(["li"]),
    "dt": frozenset(["dt", "dd"]),
    "dd": frozenset(["dt", "dd"]),
    "td": frozenset(["td", "th"]),
    "th": frozenset(["td", "th"]),
    "tr": _ROWS,
    "tbody": _ROWS | _SECTIONS,
    "thead": _ROWS | _SECTIONS,
    "tfoot": _ROWS | _SECTIONS,
    "option": frozenset(["option"]),
    "optgroup": frozenset(["option", "optgroup"]),
    "rb": frozenset(["rb", "rt", "rp", "rtc"]),
    "rt": frozenset(["rb", "rt", "rp"]),
    "rp": frozenset(["rb", "rt", "rp"]),
}
"""The open elements that end where one of this name begins."""
_RUBY = frozenset(["rb", "rt", "rp"])
_RUBY_AND_OPTIONS = frozenset(["option", "optgroup"]) | _RUBY
_NOTHING: frozenset[str] = frozenset()
_LOOK_BACK = 64

_XHTML = re.compile(
    r"""\s*+<\?xml\b|[^<]*+(?:<!--.*?-->[^<]*+)?<!DOCTYPE\s+html\s+PUBLIC\s+["']-//W3C//DTD XHTML"""
    r"""|(?:(?!<html\b).){0,2000}?<html\b[^<>]{0,1000}\bxmlns\s*=\s*["']http://www\.w3\.org/1999/xhtml["']""",
    re.IGNORECASE | re.DOTALL,
)


def repaired_source(markup: str) -> str:
    """The page's source as the parser should see it.

    In XHTML, elements that close themselves get an end tag, and CDATA becomes text.
    """
    xhtml = _XHTML.match(markup[:4000]) is not None
    if not xhtml and markup.count("<") <= _FEW_TAGS and len(markup) <= _SHORT_SOURCE:
        return markup
    return _Repair(markup, xhtml=xhtml).source()


@dataclass(slots=True)
class _Repair:
    """One pass over a page's tags, with the elements that are open as the HTML standard has them, approximately."""

    markup: str
    xhtml: bool
    _open: list[str] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)
    _formatting: Counter[str] = field(default_factory=Counter)
    _dropped: Counter[str] = field(default_factory=Counter)
    """Start tags that were dropped, whose end tags are still to come."""

    def source(self) -> str:
        """The source with its changes."""
        markup, pieces, copied, position = self.markup, [], 0, 0
        while (tag := _MARKUP.search(markup, position)) is not None:
            start, end = tag.span()
            close, spelled = tag.groups()
            if spelled is None:
                position, text = self._other_markup(start)
                if text is not None:
                    pieces += [markup[copied:start], text]
                    copied = position
                if position < 0:
                    break
                continue
            position = end + 1
            if markup[end:position] != ">":
                rest = _REST_OF_TAG.match(markup, end)
                if rest is None:
                    break  # a tag that never ends: no more tags
                position = rest.end()
            name = spelled.lower()
            attributes = markup[end : position - 1]
            changed = self._end_tag(name) if close else self._start_tag(name, spelled, attributes)
            if changed is not None:
                pieces += [markup[copied:start], changed]
                copied = position
            if not close and name in _RAW_TEXT_END and not (self.xhtml and attributes.endswith("/")):
                raw_end = _RAW_TEXT_END[name].search(markup, position)
                if raw_end is None:
                    break
                position = raw_end.start()
        return "".join([*pieces, markup[copied:]])

    def _other_markup(self, start: int) -> tuple[int, str | None]:
        """Where a comment, declaration or CDATA section ends (-1: nowhere), and the text that stands for it, if any."""
        markup = self.markup
        if markup.startswith("<!--", start):
            if markup.startswith((">", "->"), start + 4):
                return start + 5, None
            end = _COMMENT_END.search(markup, start + 4)
            return (end.end() if end else -1), None
        if self.xhtml and markup.startswith("<![CDATA[", start):
            end_of_data = markup.find("]]>", start)
            if end_of_data < 0:
                return -1, None
            return end_of_data + 3, html.escape(markup[start + 9 : end_of_data], quote=False)
        closing = markup.find(">", start)
        return (closing + 1 if closing >= 0 else -1), None

    def _start_tag(self, name: str, spelled: str, attributes: str) -> str | None:
        """What to write for a start tag; None for the tag itself."""
        short = attributes
        if len(attributes) > _MAX_ATTRIBUTE_CHARACTERS:
            bare = _QUOTED.sub("=", attributes)
            short = "" if len(bare) > _MAX_ATTRIBUTE_CHARACTERS else attributes
        changed = short is not attributes
        if name in _VOID:
            return f"<{spelled}{short}>" if changed else None
        if self.xhtml and attributes.endswith("/"):
            return f"<{spelled}{short.removesuffix('/')}></{spelled}>"
        if name in _IN_TABLES and not self._counts["table"]:
            return None  # the parser ignores it
        self._close_implied(name)
        formatting = name in _FORMATTING
        if len(self._open) >= MAX_DEPTH or (formatting and self._formatting.total() >= _MAX_FORMATTING):
            self._dropped[name] += 1
            return " "
        self._open.append(name)
        self._counts[name] += 1
        if formatting:
            self._formatting[name] += 1
        return f"<{spelled}{short}>" if changed else None

    def _end_tag(self, name: str) -> str | None:
        """What to write for an end tag; None for the tag itself."""
        if self._dropped[name]:
            self._dropped[name] -= 1
            return " "
        if name in _FORMATTING:
            self._formatting[name] = max(self._formatting[name] - 1, 0)
        if not self._counts[name] or name in {"body", "html"}:
            return None
        if self._open[-1] == name:
            self._open.pop()
            self._counts[name] -= 1
            return None
        for back in range(1, len(self._open) + 1):
            other = self._open[-back]
            if other == name:
                self._pop(back, only=name in _FORMATTING)
                break
            if other in (_SCOPES if name in _SPECIAL else _SPECIAL) and name not in _FORMATTING and name not in _SCOPES:
                break
        return None

    def _close_implied(self, name: str) -> None:
        """Close the open elements that end where an element of this name begins."""
        if self._counts["p"] and name in _CLOSES_PARAGRAPH:
            self._close_nearest(_PARAGRAPH, past=_FORMATTING)
        if name in _RUBY and not self._counts["ruby"]:
            return  # outside of ruby they end nothing, and the parser nests them
        ends = _ENDS_IMPLIED.get(name)
        if ends is not None and name in _IN_TABLES:
            while self._close_nearest(ends, past=_ALL_BUT_TABLE):
                pass
        elif ends is not None:
            self._close_nearest(ends, past=_NOTHING if name in _RUBY_AND_OPTIONS else _NOT_SPECIAL_BUT)

    def _close_nearest(self, names: frozenset[str], *, past: "frozenset[str] | _AllBut") -> bool:
        """Close the innermost open element of `names`, if no other element than those of `past` lies inside it."""
        if not any(self._counts[name] for name in names):
            return False
        for back in range(1, min(len(self._open), _LOOK_BACK) + 1):
            if self._open[-back] in names:
                self._pop(back)
                return True
            if self._open[-back] not in past:
                return False
        return False

    def _pop(self, back: int, *, only: bool = False) -> None:
        """Close the element at `back` from the end, and those inside it unless `only` that one is meant."""
        if only:
            self._counts[self._open.pop(-back)] -= 1
            return
        for name in self._open[-back:]:
            self._counts[name] -= 1
        del self._open[-back:]


class _AllBut:
    """All names but some."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def __contains__(self, name: str) -> bool:
        return name not in self._names


_NOT_SPECIAL_BUT = _AllBut(_SPECIAL - {"address", "div", "p"})
_ALL_BUT_TABLE = _AllBut(frozenset(["table", "select", "template"]))
