"""A heading's words without the marks around them, in a time that grows with the length of the heading."""

import re
from collections.abc import Callable, Iterator

from millrace.tasks.documents.formats import MAX_TITLE_CHARACTERS

_MAX_MARKED_CHARACTERS = 4 * MAX_TITLE_CHARACTERS
"""More of a heading is not looked at: a title is shorter, and its marks hardly make up three quarters of it."""
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_ESCAPES = 0xE000  # escaped signs become characters of private use until the marks are removed
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_RUNS = re.compile(r"\*+|`+|~~")
_ATTRIBUTES = re.compile(r"\{[#.:][^{}]*\}\Z")


def plain_inline(title: str) -> str:
    """A Markdown heading's words without the marks of emphasis, code, links, images and attributes, in one line.

    >>> plain_inline("The **`run`** command, see [docs](http://x.y) {#run}")
    'The run command, see docs'
    """
    title = title.strip()[:_MAX_MARKED_CHARACTERS]
    title = _ESCAPED.sub(lambda escaped: chr(_ESCAPES + ord(escaped[1])), title)
    title = _without_attributes(title)
    title = _without_links(title)
    title = _TAG.sub("", _without_comments(title))
    title = without_emphasis(title)
    title = "".join(chr(ord(c) - _ESCAPES) if _ESCAPES <= ord(c) < _ESCAPES + 128 else c for c in title)
    return one_line(title)


def one_line(title: str) -> str:
    """The title with single spaces, cut at the greatest length of a title."""
    return " ".join(title.split())[:MAX_TITLE_CHARACTERS]


def without_emphasis(text: str) -> str:
    """The text without pairs of asterisks, backticks and double tildes; code inside backticks is left as it is."""
    pairs: dict[int, int] = {}
    open_runs: list[re.Match[str]] = []
    lengths = _next_of_equal_length(text)
    code_end = 0
    for run in _RUNS.finditer(text):
        if run.start() < code_end:
            continue
        if run[0][0] == "`":
            closing = lengths.get(run.start())
            if closing is not None:
                pairs[run.start()], pairs[closing] = run.end(), closing + len(run[0])
                code_end = closing + len(run[0])
        elif not _close(open_runs, run, text, pairs) and text[run.end() : run.end() + 1].strip():
            open_runs.append(run)
    return _without_spans(text, sorted(pairs.items()))


def _close(open_runs: list[re.Match[str]], run: re.Match[str], text: str, pairs: dict[int, int]) -> bool:
    """Whether the run ends an emphasis that the same signs began; the pair has then been noted."""
    if not text[max(run.start() - 1, 0) : run.start()].strip() or not any(
        opening[0] == run[0] for opening in open_runs[-8:]
    ):
        return False
    while (opening := open_runs.pop())[0] != run[0]:
        pass
    pairs[opening.start()], pairs[run.start()] = opening.end(), run.end()
    return True


def _next_of_equal_length(text: str) -> dict[int, int]:
    """For each run of backticks, where the next run of the same length begins, if there is one."""
    following: dict[int, int] = {}
    last: dict[int, int] = {}
    for run in re.finditer("`+", text):
        if (before := last.get(len(run[0]))) is not None:
            following[before] = run.start()
        last[len(run[0])] = run.start()
    return following


def _without_attributes(title: str) -> str:
    opening = title.rfind("{") if title.endswith("}") else -1
    return title[:opening].rstrip() if opening >= 0 and _ATTRIBUTES.match(title, opening) else title


def _without_links(title: str) -> str:
    """The title with `[text](address)`, `[text][reference]` and `![text](address)` replaced by their text."""
    find_closing = {"(": _finder(title, ")"), "[": _finder(title, "]")}
    spans: list[tuple[int, int]] = []
    openings: list[int] = []
    position = 0
    for sign in re.finditer(r"[\[\]]", title):
        if sign.start() < position:
            continue
        if sign[0] == "[":
            openings.append(sign.start())
        elif openings:
            opening = openings.pop()
            after = title[sign.end() : sign.end() + 1]
            closing = find_closing[after](sign.end() + 1) if after in find_closing else -1
            if closing >= 0:
                is_image = title[max(opening - 1, 0) : opening] == "!"
                spans += [(opening - is_image, opening + 1), (sign.start(), closing + 1)]
                position = closing + 1
    return _without_spans(title, sorted(spans))


def _finder(text: str, sign: str) -> Callable[[int], int]:
    """A function that finds the sign from a position on, and does not search again once there are no more."""
    last = text.rfind(sign)
    return lambda position: text.find(sign, position) if position <= last else -1


def _without_comments(title: str) -> str:
    find_end = _finder(title, "-->")
    spans: list[tuple[int, int]] = []
    position = 0
    while (start := title.find("<!--", position)) >= 0 and (end := find_end(start)) >= 0:
        spans.append((start, end + 3))
        position = end + 3
    return _without_spans(title, spans)


def _without_spans(text: str, spans: list[tuple[int, int]]) -> str:
    return "".join(_between(text, spans)) if spans else text


def _between(text: str, spans: list[tuple[int, int]]) -> Iterator[str]:
    position = 0
    for start, end in spans:
        yield text[position:start]
        position = max(position, end)
    yield text[position:]
