"""Tables of Markdown: lines with pipes below a header row and a line of dashes. Source: GFM 0.29, section 4.10."""

import re
from collections.abc import Iterator

from millrace.tasks.records import Table

_RULE = re.compile(r"^[ \t]{0,3}\|?[ \t]*:?-++:?[ \t]*(?:\|[ \t]*:?-++:?[ \t]*)*+\|?[ \t]*\r?$", re.MULTILINE)


def find_tables(text: str) -> Iterator[Table]:
    """The tables in `text`, in order; header row and line of dashes are the head of each."""
    end = 0
    for rule in _RULE.finditer(text):
        if "|" not in rule[0] or rule.start() < max(end, 1):
            continue
        start = text.rfind("\n", 0, rule.start() - 1) + 1
        header = text[start : rule.start()]
        if "|" not in header or start < end:
            continue
        body = min(rule.end() + 1, len(text))
        end = _end_of_rows(text, body)
        yield Table(start, body, end)


def _end_of_rows(text: str, position: int) -> int:
    """Where the rows end that begin at `position`, without the last line's end."""
    end = position
    while position < len(text):
        line_end = text.find("\n", position)
        line_end = len(text) if line_end < 0 else line_end
        if "|" not in text[position:line_end]:
            break
        end, position = line_end, line_end + 1
    return end
