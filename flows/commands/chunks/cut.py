"""What a run would cut a file into, read in the same processes under the same bounds; no lake, no network."""

import asyncio
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from millrace.configs.settings import Settings
from millrace.flows.commands.report.formatting import pluralize
from millrace.flows.monitoring.result import Result
from millrace.flows.wiring import components
from millrace.tasks.documents import list_files
from millrace.tasks.errors import ExitCode, SourceError
from millrace.tasks.lake import ChunkParts
from millrace.tasks.records import CONTEXT_KEY, Reject, SourceFile
from millrace.tasks.stages.chunk import ChunkJob
from millrace.tasks.stages.part_writer import Part


@dataclass(frozen=True, slots=True)
class CutChunk:
    """One chunk: its place in its document, its text, and the context that is embedded before that.

    Pages are None where there are none; `tokens` are those of what is embedded.
    """

    source: str
    number: int
    heading_path: tuple[str, ...]
    page_start: int | None
    page_end: int | None
    start: int
    end: int
    tokens: int
    content: str
    context: str = ""

    @property
    def pages(self) -> range:
        """The numbers of the pages that it is on."""
        return range(self.page_start or 0, (self.page_end or -1) + 1)

    @property
    def place(self) -> str:
        """Its number, page and headings, in one line."""
        pages = self.pages
        page = f"page {pages[0]}" + (f"-{pages[-1]}" if len(pages) > 1 else "") if pages else ""
        said = [f"chunk {self.number}", page, " > ".join(self.heading_path), f"{self.tokens:,} tokens"]
        return ", ".join(each for each in said if each)


@dataclass(frozen=True, slots=True)
class CutFile(Result):
    """The chunks of a file, in the order of its documents, and what of it a run would not take."""

    file: str
    chunks: tuple[CutChunk, ...]
    rejects: tuple[dict[str, str], ...]

    @property
    def exit_code(self) -> int:
        """3 when something of the file would be a reject."""
        return ExitCode.REJECTS if self.rejects else ExitCode.DONE

    def lines(self) -> list[str]:
        """The chunks for people, each under a line that says where it is."""
        lines: list[str] = []
        source = self.file
        for chunk in self.chunks:
            if chunk.source != source:
                source = chunk.source
                lines.append(f"== {source}")
            context = (f"   {line}" for line in chunk.context.split("\n") if line)
            lines += [f"-- {chunk.place}", *context, *chunk.content.split("\n"), ""]
        for reject in self.rejects:
            where = f"{reject['source']} {reject['item']}".rstrip()
            lines += [f"reject     {where}: {reject['reason']}: {reject['message']}", f"           {reject['remedy']}"]
        tokens = sum(chunk.tokens for chunk in self.chunks)
        counted = pluralize(len(self.chunks), "chunk"), f"{tokens:,} tokens", pluralize(len(self.rejects), "reject")
        return [*lines, ", ".join(counted)]


def cut_file(settings: Settings, file: Path) -> CutFile:
    """The chunks and rejects of `file` under these settings. Nothing is kept, nothing is sent.

    Raises:
        SourceError: there is no such file, or it is a folder.
    """
    if file.is_dir():
        raise SourceError(f"{file} is a folder; name one file of it.")
    base, include = components.sources_base(settings), components.included(settings)
    found = list(list_files([file], include=include, base=base))
    refused = [each for each in found if isinstance(each, Reject)]
    files = tuple(each for each in found if isinstance(each, SourceFile))
    chunks, rejects = asyncio.run(_read(settings, files)) if files else ((), ())
    return CutFile(str(file), tuple(chunks), (*map(_reject_row, refused), *rejects))


async def _read(
    settings: Settings, files: tuple[SourceFile, ...]
) -> tuple[Sequence[CutChunk], Sequence[dict[str, str]]]:
    model = components.load_model(settings)
    chunks: list[CutChunk] = []
    rejects: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="millrace-chunks-") as folder:
        parts = ChunkParts(Path(folder))
        options = components.chunk_stage_options(settings, model, Path(folder), run="chunks", read_only=True)
        options = replace(options, documents=replace(options.documents, may_recognize=True))
        stage = components.open_readers(settings, options, 1)

        async def take(part: Part) -> None:
            chunks.extend(map(_chunk_of, parts.read(part.job, part.number, part.number).to_pylist()))
            rejects.extend({name: row[name] for name in _REJECT_KEYS} for row in part.rejects.to_pylist())
            parts.remove([part.name])

        try:
            await stage.run(ChunkJob(0, files), take)
        finally:
            stage.close()
    return chunks, rejects


_REJECT_KEYS = ("source", "item", "reason", "message", "remedy")


def _reject_row(reject: Reject) -> dict[str, str]:
    return {name: getattr(reject, name) for name in _REJECT_KEYS}


def _chunk_of(row: dict[str, Any]) -> CutChunk:
    metadata = json.loads(row["metadata"])
    return CutChunk(
        source=row["source"],
        number=metadata["chunk_number"],
        heading_path=tuple(metadata["heading_path"]),
        page_start=metadata["page_start"],
        page_end=metadata["page_end"],
        start=metadata["start"],
        end=metadata["end"],
        tokens=row["tokens"],
        content=row["content"],
        context=metadata.get(CONTEXT_KEY, ""),
    )
