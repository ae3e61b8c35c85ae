"""Questions and the sources that answer them, from a file: JSON Lines, checked line by line. Pure."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from millrace.tasks.errors import ConfigurationError

_MAX_SHOWN = 5
_EXAMPLE = '{"question": "...", "sources": ["a.md"]}'
_KNOWN = ("question", "sources", "relevance")


@dataclass(frozen=True, slots=True)
class Question:
    """A question, the sources that answer it, and how well each does (1.0 unless said).

    `line` is where it stands in its file, from 1.
    """

    text: str
    sources: tuple[str, ...]
    relevance: tuple[float, ...]
    line: int


def parse_questions(lines: Iterable[str], *, origin: str) -> list[Question]:
    """The questions of a JSON Lines file called `origin` in messages; blank lines are ignored.

    A line is `{"question": "...", "sources": ["a.md", ...]}`, with `"relevance": [2, ...]`, one number a source, where
    some answer better than others. Further keys are the author's own.

    Raises:
        ConfigurationError: A line is neither (each such line is named with what is wrong, the first few of them),
            or there is no question at all.
    """
    questions: list[Question] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                questions.append(_parsed(line, number))
            except ValueError as error:
                problems.append(f"line {number}: {error}")
    if problems:
        more = f"; and {len(problems) - _MAX_SHOWN} more" if len(problems) > _MAX_SHOWN else ""
        raise ConfigurationError(f"{origin}: {'; '.join(problems[:_MAX_SHOWN])}{more}")
    if not questions:
        raise ConfigurationError(f"{origin} holds no question; expected a line for each, like {_EXAMPLE}")
    return questions


def is_source(expected: str, source: str) -> bool:
    """Whether a document called `source` is what `expected` means: the same name, or the end of it by whole folders.

    A record of a file, `logbook.jsonl#7`, is meant by itself and by its file.

    >>> is_source("docs/a.md", "/srv/docs/a.md"), is_source("a.md", "/srv/ba.md")
    (True, False)
    >>> is_source("log.jsonl", "/srv/log.jsonl#7"), is_source("log.jsonl#8", "/srv/log.jsonl#7")
    (True, False)
    """
    wanted = _plain(expected)
    names = [_plain(source)]
    if "#" in source:
        names.append(_plain(source.rpartition("#")[0]))
    return any(
        name == wanted or name.endswith("/" + wanted.lstrip("/")) or (not name.startswith("/") and _ends(wanted, name))
        for name in names
    )


def found_sources(expected: Sequence[str], sources: Iterable[str]) -> list[int | None]:
    """For each of `sources` the number of the first of `expected` that means it, or None."""
    return [next((i for i, wanted in enumerate(expected) if is_source(wanted, source)), None) for source in sources]


def _ends(wanted: str, name: str) -> bool:
    """Whether `wanted`, an absolute path, is the document called `name` below a folder that names are relative to."""
    return wanted.startswith("/") and wanted.endswith("/" + name)


def _plain(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _parsed(line: str, number: int) -> Question:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at character {error.pos + 1})") from error
    if not isinstance(entry, dict):
        raise ValueError(f"expected an object like {_EXAMPLE}; found {line.strip()[:40]}")
    text, sources = entry.get("question"), entry.get("sources")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'"question" must be a text that is not blank{_instead(entry, "question")}')
    if not isinstance(sources, list) or not sources or not all(isinstance(s, str) and s.strip() for s in sources):
        raise ValueError(f'"sources" must be a list of at least one name{_instead(entry, "sources")}')
    if len(set(sources)) < len(sources):
        raise ValueError('"sources" names one twice')
    return Question(text.strip(), tuple(s.strip() for s in sources), _relevance(entry, len(sources)), number)


def _relevance(entry: dict[str, object], count: int) -> tuple[float, ...]:
    given = entry.get("relevance")
    if given is None:
        return (1.0,) * count
    if (
        not isinstance(given, list)
        or len(given) != count
        or not all(isinstance(g, int | float) and not isinstance(g, bool) and math.isfinite(g) and g > 0 for g in given)
    ):
        raise ValueError(f'"relevance" must be a list of {count} numbers above 0, one for each source; found {given!r}')
    return tuple(float(gain) for gain in given)


def _instead(entry: dict[str, object], key: str) -> str:
    if key in entry:
        return f"; found {entry[key]!r}"
    others = ", ".join(repr(name) for name in entry if name not in _KNOWN)
    return f"; it is missing (found {others})" if others else "; it is missing"
