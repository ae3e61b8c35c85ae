"""Where sections share chunks: chunks are full, an edit stays local, and each section keeps its path and its page."""

import hashlib
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.tasks.chunking import ChunkOptions, Tokenizer, chunk_document, split
from millrace.tasks.chunking.sections import heading_paths
from millrace.tasks.records import SECTIONS_MAX_BYTES, Chunk, Document, Heading, Page, metadata_json
from tests.tasks.chunking.prose import chinese_novel, english_prose

_PACK = ChunkOptions(sections="pack")


def _manual(parts: int) -> tuple[str, list[Heading]]:
    """Sections of three levels, some without text, most far shorter than a chunk."""
    text, headings = "", []
    for n in range(parts):
        headings.append(Heading(n % 3 + 1, f"Part {n}", len(text)))
        text += f"{'#' * (n % 3 + 1)} Part {n}\n\n" + english_prose(n % 5 * n % 9, seed=n) + "\n"
    return text, headings


_TEXTS: dict[str, Callable[[], tuple[str, list[Heading]]]] = {
    "manual": lambda: _manual(60),
    "english": lambda: (english_prose(100, seed=1), []),
    "chinese": lambda: (chinese_novel(200, seed=2), []),
    "log": lambda: ("".join(f"2026-11-21 10:{i // 60 % 60:02}:{i % 60:02} worker {i % 7} done in {i * 37 % 211} ms\n" for i in range(500)), []),
    "equal lines": lambda: ("INFO all is well, nothing happened\n" * 800, []),
}  # fmt: skip


def _document(text: str, headings: list[Heading], pages: tuple[Page, ...] = ()) -> Document:
    return Document("a.md", text, "A title", "00" * 32, pages, tuple(headings))


@pytest.mark.parametrize("name", ["manual", "english", "chinese"])
def test_chunks_are_full(tokenizer: Tokenizer, name: str) -> None:
    text, headings = _TEXTS[name]()
    spans = list(split(text, headings, tokenizer, _PACK))
    assert sum(span.tokens for span in spans) / len(spans) >= 0.8 * _PACK.max_tokens
    assert len(spans) <= 1.25 * tokenizer.count(text) / _PACK.max_tokens + 1


def test_an_edit_makes_at_most_four_new_texts_nearly_always(tokenizer: Tokenizer) -> None:
    chance = random.Random(1)
    counts = []
    for name, make in _TEXTS.items():
        text, headings = make()
        before = _texts(text, headings, tokenizer)
        edits = [_edited(text, headings, number, chance) for number in range(15)]
        new = [len(_texts(*edited, tokenizer) - before) for edited in edits]
        assert max(new) <= 8, name
        counts += new
    counts.sort()
    assert counts[len(counts) // 2] <= 2
    assert counts[len(counts) * 95 // 100] <= 4


def _edited(text: str, headings: list[Heading], number: int, chance: random.Random) -> tuple[str, list[Heading]]:
    """The text after an edit, with its headings; a line inserted, a line deleted, a word changed."""
    start = text.find("\n", chance.randrange(len(text) * 9 // 10)) + 1
    end, new = [
        (start, "A line that was put in later, of no great length.\n"),
        (text.find("\n", start) + 1, ""),
        (start + 4, "else"),
    ][number % 3]
    shift = len(new) - (end - start)
    moved = [
        h if h.start < start else Heading(h.level, h.title, h.start + shift)
        for h in headings
        if not start <= h.start < end
    ]
    return text[:start] + new + text[end:], moved


def _texts(text: str, headings: list[Heading], tokenizer: Tokenizer) -> set[str]:
    return {text[span.start : span.end] for span in split(text, headings, tokenizer, _PACK)}


def test_sections_that_are_apart_are_cut_as_they_were_before_there_was_a_choice(tokenizer: Tokenizer) -> None:
    """A lake knows its documents by the repr of these options, and their texts by their very characters."""
    digest = hashlib.sha256()
    prose = " ".join(english_prose(40, seed=4).split())
    for options in (ChunkOptions(), ChunkOptions(64, 16, 700)):
        for text, headings in (_manual(40), (chinese_novel(120, seed=3), []), (prose, [])):
            spans = [(s.start, s.end, s.tokens) for s in split(text, headings, tokenizer, options)]
            digest.update(repr(spans).encode())
    assert digest.hexdigest() == "208f5392832ee819a09bea6f3214e6b08215a9321d3f778eed87064f81e9830f"
    assert repr(ChunkOptions()) == "ChunkOptions(max_tokens=512, overlap_tokens=0, max_bytes=8192)"


def _said(chunk: Chunk) -> list[tuple[int, tuple[str, ...], int | None]]:
    """Where each section of a chunk begins, its whole path and its page."""
    if not chunk.sections:
        return [(chunk.start, chunk.heading_path, chunk.page_start)]
    return [(s.start, chunk.heading_path + s.heading_path, s.page) for s in chunk.sections]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from("ABC"), st.integers(0, 60)), min_size=1, max_size=25))
def test_each_section_has_its_path_its_place_and_its_page(parts: list[tuple[int, str, int]]) -> None:
    text, headings, pages = "Before.\n\n", [], []
    for number, (level, title, words) in enumerate(parts, start=1):
        headings.append(Heading(level, title, len(text)))
        start = len(text)
        text += f"{title}\n\n" + "word and " * words + "\n\n"
        pages.append(Page(number, start, len(text)))
    paths = [(0, ()), *heading_paths(headings)]
    document = _document(text, headings, tuple(pages))
    for chunk in chunk_document(document, Tokenizer.load(), ChunkOptions(64, 16, 700, "pack")):
        inside = [(start, path) for start, path in paths if chunk.start < start < chunk.end]
        own = [path for start, path in paths if start <= chunk.start][-1]
        page = {p.start: p.number for p in pages}
        assert [(start, path) for start, path, _ in _said(chunk)] == [(chunk.start, own), *inside]
        assert all(said == page[start] for start, _, said in _said(chunk)[1:])
        whole = [path for _, path, _ in _said(chunk)]
        assert all(path[: len(chunk.heading_path)] == chunk.heading_path for path in whole)
        assert (
            len(whole) == 1
            or len({path[len(chunk.heading_path) :][:1] for path in whole}) > 1
            or () in [path[len(chunk.heading_path) :] for path in whole]
        )


def test_metadata_tells_the_sections_of_a_chunk_that_has_several(tokenizer: Tokenizer) -> None:
    text = "# A\n\n## A1\nshort\n\n## A2\nshort\n"
    headings = [Heading(1, "A", 0), Heading(2, "A1", 5), Heading(2, "A2", 18)]
    (chunk,) = chunk_document(_document(text, headings), tokenizer, _PACK)
    metadata = chunk.metadata()
    assert metadata["heading_path"] == ["A"]
    assert metadata["sections"] == [
        {"start": 0, "heading_path": []},
        {"start": 5, "heading_path": ["A1"]},
        {"start": 18, "heading_path": ["A2"]},
    ]
    (apart,) = chunk_document(_document(text, headings), tokenizer, ChunkOptions())
    assert "sections" not in apart.metadata()
    (alone,) = chunk_document(_document("# A\n\nText.", headings[:1]), tokenizer, _PACK)
    assert "sections" not in alone.metadata()


@pytest.mark.parametrize(("level", "title"), [(2, "T" * 40), (1, "T" * 40), (1, "")])
def test_a_list_of_sections_is_never_longer_than_its_bound_and_says_what_it_leaves_out(
    tokenizer: Tokenizer, level: int, title: str
) -> None:
    """Titles may come from elsewhere than the text, such as the outline of a PDF."""
    text, headings = "", []
    for number in range(900):
        headings.append(Heading(1 if number % 100 == 0 else level, title + str(number % 100), len(text)))
        text += f"§{number}\n"
    (chunk,) = chunk_document(_document(text, headings), tokenizer, ChunkOptions(8191, 0, 65_535, "pack"))
    metadata = chunk.metadata()
    listed = {"sections": metadata["sections"]}
    assert len(metadata_json(listed).encode()) <= SECTIONS_MAX_BYTES
    assert len(chunk.sections) == (9 if level == 2 else 0)
    assert metadata["sections_left_out"] == 900 - len(chunk.sections)
