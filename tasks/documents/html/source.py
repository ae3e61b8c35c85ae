"""Changes to a page's source before it is parsed, where the parser would take too long or read it wrongly."""

import re

MAX_DEPTH = 1000
"""Container tags nested deeper are dropped before parsing, whose time grows with the square of the depth.

Browsers flatten at 512 (Chromium's `kMaximumHTMLParserDOMTreeDepth`).
"""

_CONTAINER = re.compile(
    r"<(?P<close>/?)(?P<tag>div|ul|ol|dl|section|article|aside|blockquote|main|form|fieldset|figure|details|center|menu|"
    r"nav|header|footer|button|table|td|th|object|font|span|address|pre)\b[^<>]*>",
    re.IGNORECASE,
)
_OVERLONG_TAG = re.compile(r"<([a-zA-Z][\w-]*)\s[^<>]{20000,}>")  # the parser compares each attribute with all others
_SELF_CLOSED = re.compile(
    r"<(?!(?:br|hr|img|input|link|meta|area|base|col|embed|source|track|wbr|param)\b)([a-zA-Z][\w:-]*)([^<>]*)/>"
)


def repaired_source(markup: str) -> str:
    """The markup as the parser should see it.

    XHTML's self-closed elements get an end tag; overlong tags lose their attributes, too deep containers their tags.
    """
    if markup.lstrip()[:5].lower() == "<?xml":
        markup = _SELF_CLOSED.sub(r"<\1\2></\1>", markup)
    return _without_deep_containers(_OVERLONG_TAG.sub(r"<\1>", markup))


def _without_deep_containers(markup: str) -> str:
    """The markup without the container tags that are nested deeper than `MAX_DEPTH`."""
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
