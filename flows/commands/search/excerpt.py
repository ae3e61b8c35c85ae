"""Found passages for people: where each is from, and the part of it that answers, with the query's words marked."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from millrace.flows.commands.search.result import SearchHit, SearchResult
from millrace.tasks.control_characters import harmless
from millrace.tasks.quality.terms import Term, one_line, terms

_SHOWN_CHARACTERS = 320
_SENTENCE_START = re.compile(r"(?<=[。！？；])|(?<=[.!?]) (?=\S)")
_INDENT = "   "


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of a passage, on one line; `marks` are the places in `text` where words of the query stand."""

    text: str
    marks: tuple[tuple[int, int], ...]


def excerpt(content: str, query: str, *, most: int = _SHOWN_CHARACTERS) -> Excerpt:
    """At most `most` characters of `content`: those where most of the query's words stand, else its beginning.

    A place that is cut off is marked "...".
    """
    text = one_line(content)
    wanted = {term.value for term in terms(query, function_words=False)}
    matches = [term for term in terms(text) if term.value in wanted]
    start, end = (0, len(text)) if len(text) <= most else _window(text, matches, most)
    before, after = "... " if start else "", " ..." if end < len(text) else ""
    shown = before + text[start:end] + after
    shift = len(before) - start
    marks = [(m.start + shift, m.end + shift) for m in matches if start <= m.start and m.end <= end]
    return Excerpt(shown, tuple(_joined(marks)))


def citation(hit: SearchHit) -> str:
    """File, page and heading of a passage, in one line; the file relative to the current folder when it lies below."""
    parts = [short_source(hit.source)]
    if hit.page_start is not None:
        last = hit.page_end if hit.page_end is not None else hit.page_start
        parts.append(f"page {hit.page_start}" if hit.page_start == last else f"pages {hit.page_start}-{last}")
    if hit.heading_path:
        parts.append(" > ".join(hit.heading_path))
    return ", ".join(parts)


def short_source(source: str) -> str:
    """The document's name; relative to the current folder when it lies below."""
    path = Path(source)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else source or "(no source)"


def plain_lines(result: SearchResult) -> list[str]:
    """What is noted, then two lines a passage."""
    lines = [*result.notes, ""] if result.notes else []
    if not result.hits:
        return [*lines, "nothing found"]
    for number, hit in enumerate(result.hits, start=1):
        lines += [
            f"{number}. {citation(hit)}  ({_scores(result, hit)})",
            _INDENT + excerpt(hit.content, result.query).text,
        ]
        lines.append("")
    return lines[:-1]


def print_coloured(result: SearchResult) -> None:
    """The same lines on a terminal, sources and the query's words set off."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for note in result.notes:
        console.print(Text(harmless(note), "yellow" if note.startswith("warning") else "dim"), soft_wrap=True)
    if not result.hits:
        console.print("nothing found")
    for number, hit in enumerate(result.hits, start=1):
        console.print()
        header = Text.assemble(
            f"{number}. ", (harmless(citation(hit)), "bold"), "  ", (f"({_scores(result, hit)})", "dim")
        )
        console.print(header, soft_wrap=True)
        shown = excerpt(hit.content, result.query)
        passage = Text(harmless(shown.text))  # as long as before, so that the marks still fit
        for start, end in shown.marks:
            passage.stylize("bold green", start, end)
        console.print(Text.assemble(_INDENT, passage), soft_wrap=True)


def _scores(result: SearchResult, hit: SearchHit) -> str:
    retrieval = f"{result.retrieval_score_kind} {hit.retrieval_score:.3f}"
    return retrieval if hit.rerank_score is None else f"rerank {hit.rerank_score:.3f}, {retrieval}"


def _window(text: str, matches: list[Term], most: int) -> tuple[int, int]:
    """The `most` characters of `text` in which the matches weigh most, from the beginning of a sentence if possible."""
    if not matches:
        return 0, _word_end(text, most)
    occurrences = Counter(match.value for match in matches)
    best, best_value = (0, 0), -1.0
    last = 0
    for first, match in enumerate(matches):
        last = max(last, first)
        while last + 1 < len(matches) and matches[last + 1].end - match.start <= most:
            last += 1
        inside = matches[first : last + 1]
        value = sum(1.0 / occurrences[v] for v in {m.value for m in inside}) + 0.01 * len(inside)
        if value > best_value:
            best, best_value = (first, last), value
    found_start, found_end = matches[best[0]].start, matches[best[1]].end
    spare = most - (found_end - found_start)
    start = _sentence_start(text, found_start, max(0, found_start - spare))
    end = min(len(text), start + most)
    if end == len(text):
        start = _word_start(text, min(start, max(0, end - most)), found_start)
    return start, (end if end == len(text) else _word_end(text, end, least=found_end))


def _sentence_start(text: str, position: int, earliest: int) -> int:
    """Where the sentence of `position` begins, if not before `earliest`; else a little before `position`."""
    if earliest == 0:
        return 0
    starts = [match.end() for match in _SENTENCE_START.finditer(text, earliest, position)]
    if starts:
        return starts[-1]
    return _word_start(text, max(earliest, position - 40), position)


def _word_start(text: str, position: int, latest: int) -> int:
    """The first beginning of a word from `position` on, at most `latest`; in Chinese that is `position` itself."""
    if position == 0 or not (text[position - 1].isascii() and text[position].isascii()):
        return position
    space = text.find(" ", position - 1, latest)
    return position if space < 0 else space + 1


def _word_end(text: str, position: int, *, least: int = 0) -> int:
    """The last end of a word up to `position`, at least `least`; in Chinese that is `position` itself."""
    if position >= len(text) or not (text[position - 1].isascii() and text[position].isascii()):
        return position
    space = text.rfind(" ", least, position + 1)
    return position if space <= 0 else space


def _joined(marks: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same places, with those that touch or overlap, as pairs of characters do, made one."""
    joined: list[tuple[int, int]] = []
    for start, end in marks:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
