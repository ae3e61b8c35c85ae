"""How the words of a new collection are cut: chosen by its texts, with a warning where that cannot serve."""

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from millrace.configs.settings import Settings
from millrace.flows.wiring import components
from millrace.tasks.errors import LakeError, LakeUnreachable
from millrace.tasks.lake import ChunkParts, Lake
from millrace.tasks.milvus import Analyzer, Collection, analyzer_for
from millrace.tasks.stages.chunk import ChunkJob
from millrace.tasks.stages.job_files import JobFiles
from millrace.tasks.stages.part_writer import Part

T = TypeVar("T")

_FILES = 8
_PARTS = 8
_FILE_BYTES = 2_000_000


def analyzer_for_files(settings: Settings, model: components.Model, files: JobFiles) -> Analyzer:
    """The analyzer for the languages of some of the files, which are read for it in a process of their own."""
    count = sum(file.size_bytes <= _FILE_BYTES for file in files.each_file())
    suitable = (file for file in files.each_file() if file.size_bytes <= _FILE_BYTES or not count)
    numbers = set(_evenly(range(count or files.files), _FILES))
    chosen = tuple(file for number, file in enumerate(suitable) if number in numbers)
    texts: list[str] = []
    with tempfile.TemporaryDirectory(prefix="millrace-sample-") as folder:
        parts = ChunkParts(Path(folder))
        options = components.chunk_stage_options(settings, model, Path(folder), run="sample", read_only=True)
        stage = components.open_readers(settings, options, 1)

        async def collect(part: Part) -> None:
            texts.extend(parts.read(part.job, part.number, part.number, columns=["content"])["content"].to_pylist())
            parts.remove([part.name])

        try:
            asyncio.run(stage.run(ChunkJob(0, chosen), collect))
        finally:
            stage.close()
    return analyzer_for(texts)


def analyzer_for_lake(lake: Lake) -> Analyzer:
    """The analyzer for the languages of some of the chunks that the lake has."""
    texts: list[str] = []
    for part in _evenly(lake.chunks.all(), _PARTS):
        try:
            texts += lake.chunks.read(part.job, part.number, part.number, columns=["content"])["content"].to_pylist()
        except LakeUnreachable:
            raise
        except LakeError:  # `verify` reports a damaged part
            continue
    return analyzer_for(texts)


def analyzer_notes(settings: Settings, lake: Lake, collection: Collection, choose: Callable[[], Analyzer]) -> list[str]:
    """A warning when the words of the documents cannot be found in a collection made with its analyzer.

    `choose` is asked where the lake has no texts yet.
    """
    if settings.milvus.hybrid != "bm25" or collection.analyzer == "chinese":
        return []
    if (analyzer_for_lake(lake) if lake.chunks.all() else choose()) != "chinese":
        return []
    return [
        f"warning: documents are in Chinese, and the collection {settings.milvus.collection} has milvus.analyzer = "
        f"{collection.analyzer}, with which hardly any Chinese word is found; an existing collection keeps its "
        "analyzer, so make another one beside it with `millrace switch --set milvus.analyzer=chinese`"
    ]


def _evenly(items: Sequence[T], most: int) -> list[T]:
    """All of them, or `most` that are spread evenly."""
    if len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]
