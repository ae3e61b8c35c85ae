"""The words and sentences of a text, Chinese and English alike.

What a query asks for, where a passage answers it, and by which sentence a passage can be asked for. Pure.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import regex  # type: ignore[import-untyped]

_HAN = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}ー"
_RUNS = regex.compile(rf"[{_HAN}]+|(?:(?![{_HAN}])[\p{{L}}\p{{N}}\p{{M}}_])+")
_FIRST_CJK = "\u1100"  # nothing in _HAN comes before it

_FUNCTION_WORDS = frozenset(
    word
    for words in (
        "a an and are as at be but by can do does for from had has have how if in is it its not of on or so than that",
        "the their there these they this those to was were what when where which who why will with",
    )
    for word in words.split()
)
_FUNCTION_CHARACTERS = frozenset("的了是在和与或也都就着吗呢吧啊么们个之其于")

_CLOSING = r"[\"'”’」』）)\]]*"
_SENTENCE_ENDS = regex.compile(
    rf"(?<=[。！？；…]{_CLOSING})(?![。！？；…\"'”’」』）)\]])"  # Chinese puts no space after them
    rf"|(?<=[.!?;]{_CLOSING})\s+"
    r"|\n[^\S\n]*\n\s*"
    r"|\n(?=\s*(?:[-*+>|]\s|#{1,6}\s|\d{1,3}[.)、]))"  # a list, a heading, a table
)
_MARKS_BEFORE = regex.compile(r"^(?:[\s#>*+|\-]+|\d{1,3}[.)、]\s*)+")
_MARKS_AFTER = regex.compile(r"[\s|*#]+$")

_LINE_END_IN_CJK = regex.compile(r"(?<=[\u3000-\u9fff\uff00-\uffef])[ \t]*\r?\n[ \t]*(?=[\u3000-\u9fff\uff00-\uffef])")

_LEAST_SIZE = 5.0
_MOST_SIZE = 40.0


class Term(NamedTuple):
    """What `text[start:end]` counts as: a word without case and common endings, or a pair of CJK characters."""

    value: str
    start: int
    end: int


Lack = Literal["", "too_short", "not_its_own"]


@dataclass(frozen=True, slots=True)
class OwnSentence:
    """A sentence of a passage that stands, among the passages looked at, in this one alone; verbatim.

    `text` is "" where there is none, and `lack` says why: every sentence is too short to ask by, or stands in another
    passage too.
    """

    text: str
    lack: Lack = ""


def terms(text: str, *, function_words: bool = True) -> list[Term]:
    """The terms of `text` in their order; pairs of CJK characters overlap.

    Without `function_words`, those that only join others are left out.

    >>> [term.value for term in terms("Where are the keys?", function_words=False)]
    ['key']
    >>> [term.value for term in terms("水斗板2号")]
    ['水斗', '斗板', '2', '号']
    """
    found: list[Term] = []
    for run in _RUNS.finditer(text):
        start, end = run.span()
        if text[start] >= _FIRST_CJK and regex.match(rf"[{_HAN}]", text[start]):
            pairs = [(i, i + 2) for i in range(start, end - 1)] or [(start, end)]
            found += [
                Term(text[i:j], i, j)
                for i, j in pairs
                if function_words or not _FUNCTION_CHARACTERS.intersection(text[i:j])
            ]
        else:
            word = text[start:end].casefold()
            if function_words or word not in _FUNCTION_WORDS:
                found.append(Term(_stem(word), start, end))
    return found


def one_line(text: str) -> str:
    r"""`text` on one line: white space becomes a space, and the end of a line within Chinese nothing.

    >>> one_line("先看水位，\n再开闸门。\n\nThen wait.")
    '先看水位，再开闸门。 Then wait.'
    """
    return " ".join(_LINE_END_IN_CJK.sub("", text).split())


def without_whitespace(text: str) -> str:
    """`text` without any white space: for finding one text in another, however lines are broken."""
    return "".join(text.split())


def sentences(text: str) -> list[str]:
    r"""The sentences of `text`, verbatim, without the marks of lists and headings before them; blank ones left out.

    >>> sentences("# 开闸\n\n先看水位。再开闸门！ Then wait. It takes\na minute.")
    ['开闸', '先看水位。', '再开闸门！', 'Then wait.', 'It takes\na minute.']
    """
    pieces = (_MARKS_AFTER.sub("", _MARKS_BEFORE.sub("", piece)) for piece in _SENTENCE_ENDS.split(text))
    return [piece for piece in pieces if piece.strip()]


def distinctive_sentences(passages: Sequence[str]) -> list[OwnSentence]:
    """For each passage the sentence that distinguishes it best from the others: the one with the rarest words.

    A sentence is at least five words or ten CJK characters long; what is much longer is asked for by its beginning.
    Where a passage has no sentences its lines are taken, and then all of it.
    """
    standing: dict[str, set[int]] = defaultdict(set)
    for number, passage in enumerate(passages):
        for term in terms(passage):
            standing[term.value].add(number)
    without_space = [without_whitespace(passage) for passage in passages]
    return [_own_sentence(number, passage, standing, without_space) for number, passage in enumerate(passages)]


def _own_sentence(
    number: int, passage: str, standing: dict[str, set[int]], without_space: Sequence[str]
) -> OwnSentence:
    candidates = _candidates(passage)
    if not candidates:
        return OwnSentence("", "too_short")
    rarity = {text: _rarity(text, standing) for text in candidates}
    for text in sorted(candidates, key=lambda text: -rarity[text]):  # stable: of equals the first
        holders = [standing[term.value] for term in terms(text) if term.value in standing]
        others = set.intersection(*holders) - {number} if holders else set()
        wanted = without_whitespace(text)
        if not any(wanted in without_space[other] for other in others):
            return OwnSentence(text)
    return OwnSentence("", "not_its_own")


def _candidates(passage: str) -> list[str]:
    for pieces in (sentences(passage), passage.splitlines(), [passage]):
        long_enough = [_beginning(piece.strip()) for piece in pieces if _size(piece) >= _LEAST_SIZE]
        if long_enough:
            return long_enough
    return []


def _rarity(text: str, standing: dict[str, set[int]]) -> float:
    """How rare the terms of `text` are: one that two passages have counts half as much as one that one has."""
    return sum(1.0 / len(standing[value]) for value in {term.value for term in terms(text)} if standing.get(value))


def _size(text: str) -> float:
    """Length in words; a CJK character is half a word."""
    return sum(_run_size(run[0]) for run in _RUNS.finditer(text))


def _run_size(run: str) -> float:
    return len(run) / 2 if run[0] >= _FIRST_CJK and regex.match(rf"[{_HAN}]", run[0]) else 1.0


def _beginning(text: str) -> str:
    """At most the first forty words' worth of `text`."""
    size = 0.0
    for run in _RUNS.finditer(text):
        size += _run_size(run[0])
        if size > _MOST_SIZE:
            over = int((size - _MOST_SIZE) * 2) if _run_size(run[0]) > 1 else len(run[0])
            return text[: max(run.end() - over, 1)].rstrip()
    return text


def _stem(word: str) -> str:
    """The word without the commonest English endings, so that "gates" meets "gate" and "closed" "close"."""
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
