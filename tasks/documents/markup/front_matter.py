"""Front matter: the data that static-site generators keep before the text of a Markdown page, in YAML or TOML."""

import re
from dataclasses import dataclass

_OPENING = re.compile(r"(?P<fence>---|\+\+\+)[ \t]*+\r?\n")
_CLOSING = {
    "---": re.compile(r"^(?:---|\.\.\.)[ \t]*+(?:\r?\n|\Z)", re.MULTILINE),
    "+++": re.compile(r"^\+\+\+[ \t]*+(?:\r?\n|\Z)", re.MULTILINE),
}
_FIRST_ENTRY = {
    "---": re.compile(r"""(?:["']?[\w][^:\r\n]{0,200}:(?:[ \t]|\r?$)|[{\[])""", re.MULTILINE),
    "+++": re.compile(r"""(?:["']?[\w][^=\r\n]{0,200}=|\[)"""),
}
_TITLE = re.compile(
    r"""^["']?title["']?[ \t]*+[:=][ \t]*+(?P<first>[^\r\n]*+)(?P<more>(?:\r?\n(?:[ \t]++[^\r\n]*+|(?=\r?\n)))*+)""",
    re.MULTILINE | re.IGNORECASE,
)
_BLOCK_SCALAR = re.compile(r"[>|][+-]?[1-9]?[+-]?[ \t]*(?:#.*)?")
_COMMENT = re.compile(r"(?:^|[ \t])#.*")
_ESCAPED = re.compile(r"\\([\"'\\/])")


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """Where the front matter ends, and the title that it gives ("" for none)."""

    end: int
    title: str


def front_matter(text: str) -> FrontMatter | None:
    """The front matter at the beginning of the text; None if there is none.

    A text may also begin with a thematic break (`---`): what stands below it must look like the first entry.
    """
    opening = _OPENING.match(text)
    if opening is None:
        return None
    fence = opening["fence"]
    closing = _CLOSING[fence].search(text, opening.end())
    if closing is None:
        return None
    body = text[opening.end() : closing.start()]
    first = next((line for line in body.splitlines() if line.strip() and not line.startswith("#")), None)
    if first is not None and _FIRST_ENTRY[fence].match(first) is None:
        return None
    return FrontMatter(closing.end(), _title(body))


def _title(body: str) -> str:
    entry = _TITLE.search(body)
    if entry is None:
        return ""
    first, more = entry["first"].strip(), [line.strip() for line in entry["more"].splitlines()]
    if _BLOCK_SCALAR.fullmatch(first):
        return " ".join(" ".join(more).split())
    value = " ".join(" ".join([first, *more]).split())
    if value[:1] in {'"', "'"} and value.rfind(value[0]) > 0:
        quoted = value[1 : value.rfind(value[0])]
        return (_ESCAPED.sub(r"\1", quoted) if value[0] == '"' else quoted.replace("''", "'")).strip()
    return _COMMENT.sub("", value).strip()
