"""The chunk stage with real processes: long PDF files among others."""

import json
from pathlib import Path

import pytest

from millrace.tasks.chunking import ChunkOptions
from millrace.tasks.documents import DocumentOptions
from millrace.tasks.lake import ChunkParts
from millrace.tasks.records import SourceFile
from millrace.tasks.stages.chunk import ChunkJob, ChunkSettings, ChunkStage
from millrace.tasks.stages.part_writer import Part, PartContext
from tests.flows.prose import english
from tests.tasks.documents.conftest import source_file
from tests.tasks.documents.pdf_files import PdfFile, book

ENDLESS = b"BT /F1 9 Tf " + b"(a) Tj 1 0 0 1 3 3 Tm " * 180_000 + b"ET"
"""A page that takes pypdf far longer than the patience of these tests, within its own limits."""


async def cut(files: list[SourceFile], folder: Path, *, workers: int, deadline_s: float = 60) -> list[Part]:
    """The parts of one job over `files`; nothing but them is left in `folder`."""
    origin = PartContext(folder, "run", "fingerprint", "space", 100)
    settings = ChunkSettings(DocumentOptions(), ChunkOptions(max_tokens=128), "qwen", origin)
    stage = ChunkStage(settings, jobs=1, workers=workers, deadline_s=deadline_s, memory_mb=2048)
    parts: list[Part] = []

    async def receive(part: Part) -> None:
        parts.append(part)

    try:
        assert await stage.run(ChunkJob(1, tuple(files)), receive) == len(parts)
    finally:
        stage.close()
    assert names_in(folder) == [f"part-000001-{number:03d}.parquet" for number in range(len(parts))]
    return parts


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def corpus(folder: Path) -> list[SourceFile]:
    """Short files around two long ones."""
    folder.mkdir()
    contents = {
        "a.txt": english(9).encode(),
        "b.pdf": book(130, sentences=3).to_bytes(),
        "c.pdf": book(3, sentences=3).to_bytes(),
        "d.pdf": book(121, sentences=3).to_bytes(),
        "e.txt": english(9, seed=1).encode(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [source_file(folder / name) for name in contents]


async def test_parts_are_the_same_however_many_processes_read(tmp_path: Path) -> None:
    files = corpus(tmp_path / "corpus")
    seen = []
    for workers in (1, 3):
        folder = tmp_path / f"chunks-{workers}"
        folder.mkdir()
        parts = await cut(files, folder, workers=workers)
        assert [part.files_done for part in parts][-1] == len(files)
        rows = ChunkParts(folder).read(1, 0, len(parts) - 1)
        seen.append((rows, [part.documents for part in parts], [part.rejects for part in parts]))
    assert seen[0] == seen[1]
    documents = [row for table in seen[0][1] for row in table.to_pylist()]
    assert [(row["source"], row["status"]) for row in documents] == [(file.name, "live") for file in files]


@pytest.mark.timeout(120)
async def test_a_page_that_hangs_costs_itself_alone(tmp_path: Path) -> None:
    made = book(130, sentences=3)
    made.pages[69] = ENDLESS
    (tmp_path / "corpus").mkdir()
    path = tmp_path / "corpus" / "book.pdf"
    path.write_bytes(made.to_bytes())
    (tmp_path / "chunks").mkdir()
    parts = await cut([source_file(path)], tmp_path / "chunks", workers=2, deadline_s=4)
    rejects = [row for part in parts for row in part.rejects.to_pylist()]
    assert [(row["item"], row["reason"]) for row in rejects] == [("page 70", "timeout")]
    rows = ChunkParts(tmp_path / "chunks").read(1, 0, len(parts) - 1).to_pylist()
    spans = [(row["page_start"], row["page_end"]) for row in (json.loads(row["metadata"]) for row in rows)]
    pages = {page for first, last in spans for page in range(first, last + 1)}
    assert pages >= set(range(1, 131)) - {70}


async def test_a_file_of_blank_pages_and_one_that_is_gone_are_rejects(tmp_path: Path) -> None:
    path, gone = tmp_path / "blank.pdf", tmp_path / "gone.pdf"
    path.write_bytes(PdfFile(pages=[b""] * 130).to_bytes())
    gone.write_bytes(book(1, sentences=3).to_bytes())
    files = [source_file(path), source_file(gone)]
    gone.unlink()
    (tmp_path / "chunks").mkdir()
    parts = await cut(files, tmp_path / "chunks", workers=2)
    rejects = [row for part in parts for row in part.rejects.to_pylist()]
    assert [(row["source"], row["reason"]) for row in rejects] == [("blank.pdf", "blank"), ("gone.pdf", "unreadable")]
