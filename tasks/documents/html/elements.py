"""Kinds of HTML elements: which are content, and what each means for the text."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

BOILERPLATE_ROLES = frozenset(["navigation", "banner", "contentinfo", "search", "menu", "menubar"])

DROPPED = frozenset(
    [
        "script", "style", "noscript", "template", "nav", "svg", "canvas", "video", "audio", "iframe", "object",
        "embed", "applet", "select", "datalist", "input", "textarea", "progress", "meter", "head", "title",
        "link", "meta", "base", "noframes", "annotation", "annotation-xml",
    ]
)  # fmt: skip
BLOCKS = frozenset(
    [
        "address", "article", "aside", "blockquote", "body", "caption", "center", "details", "dialog", "dir",
        "div", "dl", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6",
        "header", "hgroup", "hr", "html", "legend", "main", "menu", "ol", "optgroup", "p", "pre", "listing",
        "xmp", "plaintext", "search", "section", "summary", "table", "ul",
    ]
)  # fmt: skip
LINES = frozenset(["li", "dt", "dd", "tr"])
SECTIONS = frozenset(["article", "main", "section", "aside", "blockquote", "details", "dialog", "figure", "td"])
HEADINGS = {f"h{n}": n for n in range(1, 7)}
VERBATIM = frozenset(["pre", "listing", "xmp", "plaintext"])
LISTS = frozenset(["ul", "ol", "menu", "dir"])
CELLS = frozenset(["td", "th"])

STYLED_AWAY = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))", re.IGNORECASE)
LINE_NUMBERS = re.compile(r"[\d\s]+")
PERMALINKS = frozenset(["¶", "§", "#", "🔗", "⚓", "Permalink"])


def heading_level(node: "LexborNode", tag: str) -> int:
    """The level of a heading element; 0 for any other."""
    if tag in HEADINGS:
        return HEADINGS[tag]
    if tag in {"div", "p"} and node.attributes.get("role") == "heading":
        level = node.attributes.get("aria-level") or "2"
        return min(max(int(level), 1), 9) if level.isdecimal() else 2
    return 0


def is_boilerplate(node: "LexborNode", tag: str, *, in_section: bool, in_heading: bool) -> bool:
    """Whether the element is hidden, a form control, or part of the page's frame rather than its content."""
    if tag in {"header", "footer"} and not in_section:
        return tag == "footer" or node.css_first("h1") is None
    if tag == "button":
        return not in_heading
    attributes = node.attributes
    if not attributes:
        return False
    hidden = "hidden" in attributes and attributes["hidden"] != "until-found"
    decoration = attributes.get("aria-hidden") == "true" and tag not in BLOCKS
    role = (attributes.get("role") or "").lower()
    style = attributes.get("style")
    return hidden or decoration or role in BOILERPLATE_ROLES or bool(style and STYLED_AWAY.search(style))
