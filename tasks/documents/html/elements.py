"""Kinds of HTML elements: which are content, and what each means for the text."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

DROPPED = frozenset(
    [
        "script", "style", "noscript", "template", "nav", "svg", "canvas", "video", "audio", "iframe", "object",
        "embed", "applet", "select", "datalist", "input", "textarea", "progress", "meter", "head", "title",
        "link", "meta", "base", "noframes", "annotation", "annotation-xml", "rt", "rp", "rtc",
    ]
)  # fmt: skip
"""Elements without content; `rt`, `rp` and `rtc` hold readings, which would stand inside the words they explain."""
BLOCKS = frozenset(
    [
        "address", "article", "aside", "blockquote", "body", "button", "caption", "center", "details", "dialog", "dir",
        "div", "dl", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6",
        "header", "hgroup", "hr", "html", "legend", "main", "menu", "ol", "optgroup", "p", "pre", "listing",
        "xmp", "plaintext", "search", "section", "summary", "table", "ul",
    ]
)  # fmt: skip
LINES = frozenset(["li", "dt", "dd", "tr"])
SECTIONS = frozenset(["article", "main", "section", "aside", "blockquote", "details", "dialog", "figure", "td"])
VERBATIM = frozenset(["pre", "listing", "xmp", "plaintext"])
LISTS = frozenset(["ul", "ol", "menu", "dir"])
LINE_NUMBERS = re.compile(r"[\d\s]+")
PERMALINKS = frozenset(["¶", "§", "#", "🔗", "⚓", "Permalink"])

_HEADINGS = {f"h{n}": n for n in range(1, 7)}
_DELETED = frozenset(["del", "s", "strike"])
_MAX_DELETED_CHARACTERS = 500
"""Longer deleted text is probably an element that was never closed."""
_MAX_DELETED_SHARE = 0.25
_RENDERED_FORMULA = re.compile(r"(?:^|\s)MathJax(?:_\w+)?(?:\s|$)")
_HIDDEN_STYLE = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse))", re.IGNORECASE)
_RAISED_STYLE = re.compile(r"(?:^|;)\s*vertical-align\s*:\s*super", re.IGNORECASE)
_STRUCK_STYLE = re.compile(r"(?:^|;)\s*text-decoration(?:-line)?\s*:\s*line-through", re.IGNORECASE)

_EXPANDS = ("aria-expanded", "aria-controls", "data-toggle", "data-bs-toggle")
_SENDS = frozenset(["submit", "reset"])
_MIN_BUTTON_WORDS = 4

_FILE_NAME = re.compile(r".{1,200}\.(?:png|jpe?g|gif|svg|webp|bmp|tiff?|ico)", re.IGNORECASE)
_WIDE = re.compile("[\u3041-\u9fff\uac00-\ud7a3]")
_MAX_ALT_CHARACTERS = 2_000


def bounded_text(node: "LexborNode", most: int) -> str | None:
    """An element's text; None if it has more than `most` characters or parts, which are then not looked at."""
    texts: list[str] = []
    length = 0
    pending = [node.first_child]
    for _ in range(2 * most):
        if not pending:
            return "".join(texts)
        part = pending.pop()
        if part is None:
            continue
        pending += (part.next, part.first_child)
        if part.tag == "-text":
            texts.append(part.text_content or "")
            length += len(texts[-1])
            if length > most:
                return None
    return None


def heading_level(node: "LexborNode", tag: str) -> int:
    """The level of a heading element; 0 for any other."""
    if tag in _HEADINGS:
        return _HEADINGS[tag]
    if tag in {"div", "p"} and node.attributes.get("role") == "heading":
        level = node.attributes.get("aria-level") or "2"
        return min(max(int(level), 1), 9) if level.isascii() and level.isdecimal() and len(level) < 4 else 2
    return 0


def is_hidden(tag: str, attributes: dict[str, str | None]) -> bool:
    """Whether a browser does not show the element, or shows it as a decoration."""
    if "hidden" in attributes and attributes["hidden"] != "until-found":
        return True
    if attributes.get("aria-hidden") == "true" and tag not in BLOCKS:
        return True
    if _RENDERED_FORMULA.search(attributes.get("class") or ""):
        return True  # MathJax 2 keeps the formula's source beside it
    style = attributes.get("style")
    return bool(style and _HIDDEN_STYLE.search(style))


def is_raised(tag: str, attributes: dict[str, str | None]) -> bool:
    """Whether the element's text is raised, as an exponent is."""
    return tag == "sup" or (tag == "span" and bool(_RAISED_STYLE.search(attributes.get("style") or "")))


def is_deleted(node: "LexborNode", tag: str, attributes: dict[str, str | None]) -> bool:
    """Whether the element's text is shown struck out: it is there to say that it no longer holds."""
    if tag not in _DELETED and not (tag == "span" and _STRUCK_STYLE.search(attributes.get("style") or "")):
        return False
    return bounded_text(node, _MAX_DELETED_CHARACTERS) is not None


def deletions_are_marked(body: "LexborNode") -> bool:
    """Whether struck-out text is a small part of the page.

    An element that was never closed goes on in each paragraph after it; then the marks mean nothing.
    """
    deleted = sum(len(bounded_text(node, _MAX_DELETED_CHARACTERS) or "") for node in body.css("del,s,strike"))
    return not deleted or deleted <= _MAX_DELETED_SHARE * len(body.text() or "")


def is_control(node: "LexborNode", attributes: dict[str, str | None]) -> bool:
    """Whether a button does something to the page; otherwise its text is content, such as a question of a list."""
    if any(name in attributes for name in _EXPANDS):
        return False
    text = bounded_text(node, _MAX_DELETED_CHARACTERS)
    if text is None:
        return False
    text = text.strip()
    if text.endswith(("?", "？")):
        return False
    if (attributes.get("type") or "").lower() in _SENDS:
        return True
    return len(text.split()) < _MIN_BUTTON_WORDS and len(_WIDE.findall(text)) < 2 * _MIN_BUTTON_WORDS


def description(attributes: dict[str, str | None]) -> str:
    """The text that stands for an image; "" for a decoration, a file's name or a single word, such as a logo's."""
    if (attributes.get("role") or "") in {"presentation", "none"}:
        return ""
    alt = " ".join((attributes.get("alt") or "").split())
    if not alt or len(alt) > _MAX_ALT_CHARACTERS or _FILE_NAME.fullmatch(alt):
        return ""
    single = " " not in alt and len(_WIDE.findall(alt)) < 2 and not any(sign in alt for sign in "\\^=")
    return "" if single and alt.isascii() else alt


def list_mark(number: int, kind: str) -> str:
    """What a browser writes before an item of an ordered list: its number, letter or Roman number, and a full stop."""
    match kind:
        case "a" | "A" if 1 <= number <= 26:
            letter = chr(ord("a") + number - 1)
            return f"{letter if kind == 'a' else letter.upper()}. "
        case "i" | "I" if 1 <= number < 4000:
            roman = _roman(number)
            return f"{roman.lower() if kind == 'i' else roman}. "
    return f"{number}. "


def _roman(number: int) -> str:
    written = ""
    for value, sign in (
        (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"),
        (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
    ):  # fmt: skip
        written += sign * (number // value)
        number %= value
    return written
