"""Formulas and numbers whose markup carries meaning: raised and lowered text, fractions, MathML and TeX.

`10<sup>6</sup>` is `10^6`, not `106`; `3<sup>1</sup>/<sub>2</sub>` is `3 1/2`; `note<sup><a>3</a></sup>` is `note[3]`.
Lowered text stays beside what it follows (`H2O`), except after a digit (`101_2`). A formula in MathML becomes one line
(`(a+b)/2`, `c^2`, `√(x)`), or the TeX source that it was made from.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

MAX_SCRIPT_CHARACTERS = 100
"""Longer raised or lowered text is ordinary text set small."""

_FRACTION_SLASHES = frozenset("/⁄∕")
_ORDINALS = frozenset(["st", "nd", "rd", "th", "er", "re", "e", "ème", "eme", "o", "a", "os", "as", "ter", "ten", "te"])
_REFERENCE = re.compile(r"\[?(?:\d{1,3}|[a-z*†‡§])\]?")
_SIMPLE = re.compile(r"[+−-]?(?:\w+|\d+[.,]\d+)")
_DISPLAY_STYLE = re.compile(r"\s*\{\\(?:display|text)style\s?(.*)\}\s*", re.DOTALL)
_TEX = frozenset(["application/x-tex", "text/x-tex", "latex", "tex"])
_MAX_DEPTH = 60

_ROWS = frozenset(["math", "mrow", "mstyle", "semantics", "mpadded", "menclose", "merror", "mtd"])
_NOT_SHOWN = frozenset(["mphantom", "none", "mprescripts"])
_PATTERNS = {
    ("msup", 2): "{0}^{g1}",
    ("mover", 2): "{0}^{g1}",
    ("msub", 2): "{0}_{g1}",
    ("munder", 2): "{0}_{g1}",
    ("msubsup", 3): "{0}_{g1}^{g2}",
    ("munderover", 3): "{0}_{g1}^{g2}",
    ("mfrac", 2): "{g0}/{g1}",
    ("mroot", 2): "{g0}^(1/{1})",
}
"""How an element with so many parts is written; `g1` is part 1, in brackets where it needs them."""
_AROUND = {
    "msqrt": ("√(", "", ")"),
    "mtable": ("", "; ", ""),
    "mtr": ("", ", ", ""),
    "mlabeledtr": ("", ", ", ""),
    "mtext": (" ", "", " "),
}
"""What is written before, between and after the parts of an element."""
_OPERATORS = frozenset("=<>≤≥≠≈≡∼→⇒∈×·±")


def raised(node: "LexborNode", before: str) -> str:
    """The text of a `<sup>` element that follows the character `before`."""
    text = _script_text(node)
    if not text:
        return ""
    if is_numerator(node):
        return f" {text}" if before.isdigit() else text
    if node.css_first("a") is not None and _REFERENCE.fullmatch(text):
        return text if text.startswith("[") else f"[{text}]"
    letter_after_digit = before.isdigit() and text.isalpha() and text.lower() not in _ORDINALS
    starts_as_exponent = text[0].isdigit() or (text[0] in "+−-" and text[1:2].isalnum())
    single_letter = len(text) == 1 and text.isalpha() and text.isascii() and before.isalpha()
    operation = before.isalnum() and any(sign in text for sign in "+−-/*") and len(text) <= 12
    if (before.isalnum() or before in set(")]}")) and (
        letter_after_digit or starts_as_exponent or single_letter or operation
    ):
        return "^" + _grouped(text)
    return text


def lowered(node: "LexborNode", before: str) -> str:
    """The text of a `<sub>` element that follows the character `before`."""
    text = _script_text(node)
    return f"_{_grouped(text)}" if text and text[0].isalnum() and before.isdigit() else text


def is_numerator(node: "LexborNode") -> bool:
    """Whether a raised element is followed by a slash and a lowered one: a fraction."""
    slash = node.next
    if slash is None or slash.tag != "-text" or (slash.text_content or "").strip() not in _FRACTION_SLASHES:
        return False
    return slash.next is not None and slash.next.tag == "sub"


def tex_source(node: "LexborNode") -> str:
    """The TeX in a `<script type="math/tex">`, between dollar signs."""
    source = (node.text() or "").strip()
    source = source.removeprefix("% <![CDATA[").removesuffix("%]]>").strip()
    if not source:
        return ""
    display = "mode=display" in (node.attributes.get("type") or "")
    return f"$${source}$$" if display else f"${source}$"


def formula(node: "LexborNode") -> str:
    """A `<math>` element in one line: the TeX it was made from if it names that, else its parts."""
    for annotation in node.css("annotation"):
        if (annotation.attributes.get("encoding") or "").lower() in _TEX and (source := annotation.text().strip()):
            bare = _DISPLAY_STYLE.fullmatch(source)
            return " ".join((bare[1] if bare else source).split())
    return " ".join(_math(node, 0).split())


def _script_text(node: "LexborNode") -> str:
    return " ".join((node.text() or "").split())


def _grouped(text: str) -> str:
    return text if _SIMPLE.fullmatch(text) or (text.startswith("(") and text.endswith(")")) else f"({text})"


def _math(node: "LexborNode", depth: int) -> str:
    """One MathML element as text."""
    tag = node.tag or ""
    if tag == "-text":
        return node.text_content or ""
    if tag.startswith(("-", "annotation")) or tag in _NOT_SHOWN:
        return ""
    if depth > _MAX_DEPTH:
        return node.text() or ""
    parts = [_math(child, depth + 1) for child in _elements(node)]
    if tag not in _ROWS:
        parts = [part.strip() for part in parts]
    pattern = _PATTERNS.get((tag, len(parts)))
    if pattern is not None:
        grouped = {f"g{number}": _grouped(part) for number, part in enumerate(parts)}
        return pattern.format(*parts, **grouped)
    before, between, after = _AROUND.get(tag, ("", "", ""))
    joined = between.join(parts)
    return f" {joined} " if tag == "mo" and joined in _OPERATORS else f"{before}{joined}{after}"


def _elements(node: "LexborNode") -> Iterator["LexborNode"]:
    child = node.first_child
    while child is not None:
        if child.tag != "-text" or (child.text_content or "").strip():
            yield child
        child = child.next
