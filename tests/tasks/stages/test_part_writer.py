"""Parts: what is handed over together, and which rejects belong to which document."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from millrace.tasks.chunking import ChunkOptions, Tokenizer, chunk_document
from millrace.tasks.lake import ChunkParts
from millrace.tasks.records import Chunk, Document, Reject, SourceFile, chunk_id
from millrace.tasks.stages.part_writer import Part, PartContext, PartWriter
from tests.flows.prose import english


def cut(document: Document) -> list[Chunk]:
    return list(chunk_document(document, Tokenizer.load(), ChunkOptions(max_tokens=32)))


def file_named(name: str) -> SourceFile:
    return SourceFile(path=f"/corpus/{name}", name=f"/corpus/{name}", size_bytes=1, mtime_ns=1)


def document_named(name: str, sentences: int = 5) -> Document:
    return Document(
        source=f"/corpus/{name}", text=english(sentences, seed=len(name)), title=name, document_hash="0" * 64
    )


def page_reject(name: str, page: int) -> Reject:
    return Reject("read", f"/corpus/{name}", f"page {page}", "page_scanned", "no text", "run OCR")


def written(tmp_path: Path, part_chunks: int = 10) -> tuple[PartWriter, list[Part]]:
    handed: list[Part] = []
    origin = PartContext(tmp_path, "run", "fingerprint", "space", part_chunks)
    return PartWriter(origin, job=1, first=0, send=handed.append, bytes_to_come=10**9), handed


def test_rejects_before_and_after_a_document_are_its_own(tmp_path: Path) -> None:
    writer, handed = written(tmp_path)
    file, document = file_named("a.pdf"), document_named("a.pdf")
    writer.add_reject(page_reject("a.pdf", 1))
    writer.add_document(file, document, cut(document))
    writer.add_reject(page_reject("a.pdf", 9))
    writer.end_file(file)
    writer.flush()
    (row,) = [row for part in handed for row in part.documents.to_pylist()]
    assert (row["status"], row["rejects"]) == ("live", 2)


def test_a_file_of_which_only_rejects_came_has_a_row_that_says_so(tmp_path: Path) -> None:
    writer, handed = written(tmp_path)
    writer.add_reject(page_reject("a.pdf", 1))
    writer.end_file(file_named("a.pdf"))
    writer.flush()
    ((row,),) = [part.documents.to_pylist() for part in handed]
    assert (row["status"], row["chunks"], row["rejects"]) == ("rejected", 0, 1)


def chunks_of(source: str, count: int) -> list[Chunk]:
    return [
        Chunk(chunk_id(source, f"{n}", 0), source, f"{source} {n}", 0, 1, n, 1, None, None, (), "t", "h", {})
        for n in range(count)
    ]


def parts_of(folder: Path, documents: Sequence[tuple[int, int]], *, part_chunks: int) -> list[Part]:
    """The parts of a job over one document a file, given as (chunks, bytes)."""
    handed: list[Part] = []
    origin = PartContext(folder, "run", "fingerprint", "space", part_chunks)
    to_come = sum(size for _, size in documents)
    writer = PartWriter(origin, job=1, first=0, send=handed.append, bytes_to_come=to_come)
    for number, (count, size) in enumerate(documents):
        file = file_named(f"{number:03d}.md")._replace(size_bytes=size)
        writer.add_document(file, Document(file.name, "", "", "0" * 64), chunks_of(file.name, count))
        writer.end_file(file)
    writer.flush()
    return handed


@given(st.lists(st.tuples(st.integers(0, 35), st.integers(0, 40)), max_size=12))
@example([(2, 40), (35, 1), (3, 1)])  # far more comes than was likely
@settings(deadline=None)
def test_a_part_holds_whole_documents_or_a_piece_of_one(documents: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        handed = parts_of(Path(folder), documents, part_chunks=10)
        ended = {row["source"]: row for part in handed for row in part.documents.to_pylist()}
        assert [row["chunks"] for _, row in sorted(ended.items())] == [count for count, _ in documents]
        assert sum(part.chunks for part in handed) == sum(count for count, _ in documents)
        parts = ChunkParts(Path(folder))
        for part in handed:
            assert part.chunks <= 15
            sources = set(parts.read(1, part.number, part.number, columns=["source"])["source"].to_pylist())
            unfinished = {s for s in sources if ended[s]["part_last"] != part.number}
            assert not unfinished or len(sources) == 1
        for source, row in ended.items():
            rows = parts.read(1, row["part_first"], row["part_last"], columns=["id"], sources=[source])
            assert rows["id"].to_pylist() == [chunk.id for chunk in chunks_of(source, row["chunks"])]


@pytest.mark.parametrize(
    ("chunks", "parts"),
    [(9, [9]), (14, [14]), (15, [15]), (16, [10, 6]), (25, [10, 15]), (26, [10, 10, 6])],
)
def test_no_small_part_is_left_at_the_end_of_a_job(tmp_path: Path, chunks: int, parts: list[int]) -> None:
    assert [part.chunks for part in parts_of(tmp_path, [(1, 100)] * chunks, part_chunks=10)] == parts


def test_parts_of_a_long_document_are_handed_over_while_its_end_is_being_cut(tmp_path: Path) -> None:
    writer, handed = written(tmp_path, part_chunks=4)
    seen: list[int] = []

    def cutting() -> Iterator[Chunk]:
        for chunk in cut(document):
            seen.append(len(handed))
            yield chunk

    document = document_named("a.md", 60)
    writer.add_document(file_named("a.md"), document, cutting())
    assert max(number - 4 * (parts + 1) for number, parts in enumerate(seen, start=1)) <= 4
    assert handed[-1].documents.num_rows == 0


def test_a_document_that_cannot_be_cut_to_its_end_leaves_nothing_for_later_parts(tmp_path: Path) -> None:
    writer, handed = written(tmp_path, part_chunks=4)

    def failing() -> Iterator[Chunk]:
        yield from cut(document_named("long.md", 60))[:9]
        raise MemoryError

    before, after = document_named("a.md", 3), document_named("z.md", 3)
    writer.add_document(file_named("a.md"), before, iter(cut(before)))
    writer.end_file(file_named("a.md"))
    with pytest.raises(MemoryError):
        writer.add_document(file_named("long.md"), document_named("long.md", 60), failing())
    writer.end_file(file_named("long.md"))
    writer.add_document(file_named("z.md"), after, iter(cut(after)))
    writer.end_file(file_named("z.md"))
    writer.flush()
    (row,) = [row for part in handed for row in part.documents.to_pylist() if row["source"] == after.source]
    parts = ChunkParts(tmp_path)
    assert parts.read(1, row["part_first"], row["part_last"])["source"].to_pylist() == [after.source] * row["chunks"]


def test_the_last_part_says_that_every_file_is_done(tmp_path: Path) -> None:
    writer, handed = written(tmp_path, part_chunks=4)
    for name, sentences in (("a.md", 2), ("b.md", 60), ("c.md", 20)):
        document = document_named(name, sentences)
        writer.add_document(file_named(name), document, cut(document))
        writer.end_file(file_named(name))
    writer.flush()
    assert handed[-1].files_done == 3
    assert [part.files_done for part in handed] == sorted(part.files_done for part in handed)


@pytest.mark.parametrize(
    ("extra", "reason"),
    [({"note": "x" * 70_000}, "metadata_too_long"), ({"number": 2**70}, "metadata_number")],
    ids=["over Milvus's bound", "an integer that comes back as another"],
)
def test_metadata_that_milvus_cannot_hold_is_a_reject_before_anything_is_embedded(
    tmp_path: Path, extra: dict[str, str | int], reason: str
) -> None:
    writer, handed = written(tmp_path)
    for name in ("a.jsonl", "b.jsonl"):
        document = replace(document_named(name), extra=extra if name == "a.jsonl" else {})
        writer.add_document(file_named(name), document, cut(document))
        writer.end_file(file_named(name))
    writer.flush()
    (part,) = handed
    assert [(row["source"], row["reason"]) for row in part.rejects.to_pylist()] == [("/corpus/a.jsonl", reason)]
    assert [(row["status"], row["chunks"] > 0) for row in part.documents.to_pylist()] == [
        ("rejected", False),
        ("live", True),
    ]
    assert part.chunks == part.documents["chunks"].to_pylist()[1]
