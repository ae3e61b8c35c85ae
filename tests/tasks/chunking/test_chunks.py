"""What a chunk knows of its document."""

from millrace.tasks.chunking import ChunkOptions, Tokenizer, chunk_document
from millrace.tasks.chunking.sections import heading_paths
from millrace.tasks.records import Document, Heading, Page, chunk_id
from tests.tasks.chunking.prose import english_prose


def _document(text: str, pages: tuple[Page, ...] = (), headings: tuple[Heading, ...] = ()) -> Document:
    return Document("a.md", text, "A title", "00" * 32, pages, headings, {"lang": "en"})


def test_a_chunk_carries_its_document_and_its_place(tokenizer: Tokenizer) -> None:
    text = "# One\n\nHello there.\n"
    (chunk,) = chunk_document(
        _document(text, (Page(3, 0, len(text)),), (Heading(1, "One", 0),)), tokenizer, ChunkOptions()
    )
    assert chunk.content == "# One\n\nHello there."
    assert chunk.id == chunk_id("a.md", chunk.content, 0)
    assert chunk.metadata() == {
        "lang": "en",
        "source": "a.md",
        "title": "A title",
        "page_start": 3,
        "page_end": 3,
        "heading_path": ["One"],
        "start": 0,
        "end": 19,
        "chunk_number": 0,
        "token_count": tokenizer.count(chunk.content),
        "document_hash": "00" * 32,
    }


def test_equal_texts_have_different_ids_that_do_not_depend_on_position(tokenizer: Tokenizer) -> None:
    section = "# Same\n\n" + "The same words again. " * 60 + "\n\n"
    starts = [i * len(section) for i in range(3)]
    chunks = list(
        chunk_document(
            _document(section * 3, (), tuple(Heading(1, "Same", s) for s in starts)), tokenizer, ChunkOptions()
        )
    )
    assert len({c.content for c in chunks}) == 1
    assert [c.id for c in chunks] == [chunk_id("a.md", chunks[0].content, n) for n in range(3)]
    moved = list(
        chunk_document(
            _document("# New\n\n" + section, (), (Heading(1, "New", 0), Heading(1, "Same", 7))),
            tokenizer,
            ChunkOptions(),
        )
    )
    assert moved[-1].id == chunks[0].id or moved[-1].content != chunks[0].content


def test_numbers_count_up_and_offsets_give_the_content(tokenizer: Tokenizer) -> None:
    document = _document(english_prose(40, seed=9))
    chunks = list(chunk_document(document, tokenizer, ChunkOptions()))
    assert [c.number for c in chunks] == list(range(len(chunks)))
    assert all(c.content == document.text[c.start : c.end] for c in chunks)
    assert all((c.page_start, c.page_end, c.heading_path) == (None, None, ()) for c in chunks)


def test_pages_are_those_of_the_first_and_the_last_character(tokenizer: Tokenizer) -> None:
    pages, text = [], ""
    for number in range(1, 9):
        body = english_prose(2, seed=number)
        pages.append(Page(number, len(text), len(text) + len(body)))
        text += body + "\n\f\n"
    for chunk in chunk_document(_document(text, tuple(pages)), tokenizer, ChunkOptions()):
        first = next(p.number for p in pages if p.start <= chunk.start < p.end)
        last = next(p.number for p in pages if p.start < chunk.end <= p.end)
        assert (chunk.page_start, chunk.page_end) == (first, last)


def test_a_heading_path_names_the_headings_that_enclose_the_start(tokenizer: Tokenizer) -> None:
    text, headings = "", []
    for level, title in [(1, "Book"), (2, "Part"), (3, "Chapter"), (2, "Other part"), (1, "Other book")]:
        headings.append(Heading(level, title, len(text)))
        text += f"{title}\n\n{english_prose(4, seed=level)}\n"
    chunks = chunk_document(_document(text, (), tuple(headings)), tokenizer, ChunkOptions(128))
    paths = list(dict.fromkeys(c.heading_path for c in chunks))
    assert paths == [("Book",), ("Book", "Part"), ("Book", "Part", "Chapter"), ("Book", "Other part"), ("Other book",)]


def test_a_deeper_heading_without_a_parent_stands_alone() -> None:
    assert list(heading_paths([Heading(3, "A", 0), Heading(2, "B", 5)])) == [(0, ("A",)), (5, ("B",))]


def test_a_blank_document_has_no_chunks(tokenizer: Tokenizer) -> None:
    assert list(chunk_document(_document(" \n\u3000\n"), tokenizer, ChunkOptions())) == []
