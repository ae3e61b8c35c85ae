"""Which cut is taken, and that no text takes long."""

import time
from itertools import pairwise
from typing import Any

import pytest

from millrace.tasks.chunking import ChunkOptions, Tokenizer, split
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.records import Heading
from tests.tasks.chunking.laws import assert_lawful
from tests.tasks.chunking.prose import chinese_novel, english_prose


def _contents(
    text: str, tokenizer: Tokenizer, options: ChunkOptions, headings: list[Heading] | None = None
) -> list[str]:
    spans = list(split(text, headings or [], tokenizer, options))
    assert_lawful(text, spans, tokenizer, options)
    return [text[s.start : s.end] for s in spans]


@pytest.mark.parametrize("text", ["", " ", "\n\n\t", "\u3000" * 300_000])
def test_a_blank_text_has_no_chunks(tokenizer: Tokenizer, text: str) -> None:
    assert list(split(text, [], tokenizer, ChunkOptions())) == []


def test_a_short_text_is_one_chunk(tokenizer: Tokenizer) -> None:
    assert _contents(" \n One.\n\nTwo. \n", tokenizer, ChunkOptions()) == ["One.\n\nTwo."]


@pytest.mark.parametrize(("separator", "overlap"), [("\n\n", 0), ("\n", 0), (" ", 0), ("\n\n", 16)])
def test_cuts_come_at_the_highest_kind_of_boundary(tokenizer: Tokenizer, separator: str, overlap: int) -> None:
    units = [f"Unit {i} says one thing, then another, and ends here." for i in range(60)]
    for content in _contents(separator.join(units), tokenizer, ChunkOptions(64, overlap)):
        assert content.startswith("Unit")
        assert content.endswith("here.")


def test_chinese_is_cut_at_sentences(tokenizer: Tokenizer) -> None:
    text = "".join(chinese_novel(60, seed=7).split())
    assert all(content[-1] in "。！？" for content in _contents(text, tokenizer, ChunkOptions(128)))


def test_table_rows_stay_whole_while_they_fit(tokenizer: Tokenizer) -> None:
    rows = ["| " + " | ".join(f"cell {r} {c}" for c in range(r % 6 + 1)) + " |" for r in range(200)]
    retained = {
        row for content in _contents("\n".join(rows), tokenizer, ChunkOptions(64)) for row in content.split("\n")
    }
    assert retained == set(rows)


def test_a_line_that_the_window_would_cut_stays_whole(tokenizer: Tokenizer) -> None:
    short, long = "A first line.", "word " * 61 + "end"
    assert _contents(f"{short}\n{long}\n{short}", tokenizer, ChunkOptions(64))[0] == short


def test_a_word_is_cut_only_if_it_passes_the_bound(tokenizer: Tokenizer) -> None:
    word = "x1y2z3" * 100
    contents = _contents(f"Before it. {word} After it.", tokenizer, ChunkOptions(64))
    assert "".join("".join(contents).split()) == f"Beforeit.{word}Afterit."
    assert len(contents) < 20


def test_a_section_starts_a_chunk_and_keeps_its_heading(tokenizer: Tokenizer) -> None:
    text, headings = "", []
    for i in range(8):
        headings.append(Heading(2, f"Part {i}", len(text)))
        text += f"## Part {i}\n\n{english_prose(3, seed=i)}\n"
    contents = _contents(text, tokenizer, ChunkOptions(128), headings)
    for heading in headings:
        (holder,) = [content for content in contents if f"## {heading.title}" in content]
        assert holder.startswith(f"## {heading.title}\n\n")
        assert len(holder) > 40


def test_tiny_sections_go_together_but_not_into_a_higher_one(tokenizer: Tokenizer) -> None:
    text = "# A\n\n## A1\nshort\n\n## A2\nshort\n\n# B\n\n## B1\nshort\n\n## B2\nshort\n"
    headings = [
        Heading(line.count("#"), line.strip("# "), text.index(line)) for line in text.split("\n") if "#" in line
    ]
    assert _contents(text, tokenizer, ChunkOptions(), headings) == [
        "# A\n\n## A1\nshort\n\n## A2\nshort",
        "# B\n\n## B1\nshort\n\n## B2\nshort",
    ]


def test_an_overlap_repeats_whole_sentences_of_the_chunk_before(tokenizer: Tokenizer) -> None:
    text = " ".join(f"Sentence number {i} is here." for i in range(200))
    options = ChunkOptions(max_tokens=64, overlap_tokens=16)
    spans = list(split(text, [], tokenizer, options))
    assert_lawful(text, spans, tokenizer, options)
    assert all(after.start < before.end for before, after in pairwise(spans))
    assert all(text[s.start :].startswith("Sentence") for s in spans)


def test_graphemes_stay_whole_where_nothing_else_can_be_cut(tokenizer: Tokenizer) -> None:
    for grapheme in ("👨‍👩‍👧‍👦", "🇨🇳", "e\u0301\u0302", "क्षि"):
        contents = _contents(grapheme * 300, tokenizer, ChunkOptions(64))
        assert all(len(content) % len(grapheme) == 0 for content in contents)


def test_bytes_bind_where_tokens_do_not(tokenizer: Tokenizer) -> None:
    contents = _contents(chinese_novel(50, seed=8), tokenizer, ChunkOptions(max_tokens=8191, max_bytes=1000))
    assert max(len(content.encode()) for content in contents) > 700


@pytest.mark.parametrize(
    "options",
    [{"max_tokens": 0}, {"max_tokens": 8192}, {"overlap_tokens": -1}, {"overlap_tokens": 257}, {"max_bytes": 3}],
)
def test_bounds_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        ChunkOptions(**options)


@pytest.mark.parametrize(
    "unit",
    [
        *("a", " ", "\n", "a\n", "a b ", ".", "。", "!?,.;", "-", "…", '"', ".*", "," + '"' * 999, "." * 999 + "x", "," * 999 + "x"),
        *("的", "👨‍👩‍👧‍👦", "🇨🇳", "\u0301", "क्", "\u1112\u1161", "0123456789abcdef", "|a|b|\n", "<|endoftext|>", "\r\n"),
        *("Équal lines of a log, again and again\n", "E\u0301qual, but not in NFC. "),
    ],
)  # fmt: skip
def test_time_grows_with_the_text_and_not_with_its_square(tokenizer: Tokenizer, unit: str) -> None:
    def seconds(size: int) -> float:
        text = "x" + unit * (size // len(unit)) + "x"
        before = time.process_time()
        spans = list(split(text, [], tokenizer, ChunkOptions()))
        took = time.process_time() - before
        assert spans[0].start == 0
        assert spans[-1].end == len(text)
        return took

    # A square would take sixteen times as long; the half second forgives a busy machine.
    assert seconds(400_000) < 8 * seconds(100_000) + 0.5
