"""The chunks of a file as a page to look at: beside the pages of the PDF that they come from, or one below the other.

The pages are drawn in a reading process, under the same bounds as reading.
"""

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from millrace.configs.settings import Settings
from millrace.flows.commands.chunks.cut import CutChunk, CutFile
from millrace.flows.wiring import components
from millrace.tasks.documents import list_files
from millrace.tasks.documents.pdf.picture import as_png, page_pictures, require_pictures
from millrace.tasks.errors import Rejected
from millrace.tasks.records import SourceFile
from millrace.tasks.stages.worker_pool import Channel, WorkerLost, WorkerPool

PAGES_SHOWN = 50
_DPI = 80


@dataclass(frozen=True, slots=True)
class ShownPage:
    """A page with the chunks that begin on it; `picture` is a data URI, "" where it could not be drawn."""

    number: int
    picture: str
    problem: str
    chunks: tuple[CutChunk, ...]


def page_of(settings: Settings, cut: CutFile) -> str:
    """The page as one HTML file that needs nothing else. What documents say is escaped.

    Raises:
        ConfigurationError: the file is a PDF, and the library that draws its pages is not installed.
    """
    numbers = sorted({number for chunk in cut.chunks for number in chunk.pages})
    is_pdf = Path(cut.file).suffix.lower() == ".pdf"
    shown = numbers[:PAGES_SHOWN] if is_pdf else []
    pictures = asyncio.run(_pictures(settings, Path(cut.file), shown)) if shown else {}
    pages = [
        ShownPage(
            number,
            *pictures[number],
            chunks=tuple(chunk for chunk in cut.chunks if chunk.page_start == number),
        )
        for number in shown
    ]
    last = shown[-1] if shown else 0
    rest = [chunk for chunk in cut.chunks if (chunk.page_start or last + 1) > last]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    style = files("millrace.flows.commands.report").joinpath("style.css").read_text("utf-8")
    template = files("millrace.flows.commands.chunks").joinpath("page.html").read_text("utf-8")
    return environment.from_string(template).render(
        style=style, file=cut.file, pages=pages, rest=rest, rejects=cut.rejects, undrawn=len(numbers) - len(shown),
        is_pdf=is_pdf, chunks=len(cut.chunks), tokens=sum(chunk.tokens for chunk in cut.chunks),
    )  # fmt: skip


async def _pictures(settings: Settings, path: Path, numbers: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Of each page its picture, or "" and why there is none."""
    require_pictures()
    file = next(
        each for each in list_files([path], include=components.included(settings)) if isinstance(each, SourceFile)
    )
    documents = settings.documents
    pool: WorkerPool[tuple[SourceFile, int], bytes | str] = WorkerPool(
        draw, size=1, deadline_s=documents.timeout_s, memory_mb=documents.max_memory_mb
    )
    drawn: dict[int, tuple[str, str]] = {}
    try:
        for number in numbers:
            received: list[bytes | str] = []

            async def take(picture: bytes | str, into: list[bytes | str] = received) -> None:
                into.append(picture)

            try:
                await pool.run((file, number), take)
            except WorkerLost as lost:
                drawn[number] = "", lost.detail
            else:
                picture = received[0]
                drawn[number] = (_data_uri(picture), "") if isinstance(picture, bytes) else ("", picture)
    finally:
        pool.close()
    return drawn


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def draw(work: tuple[SourceFile, int], channel: Channel[bytes | str]) -> None:
    """Run in a reading process: send one page as PNG, or why it cannot be drawn."""
    file, number = work
    channel.at(f"{file.path}\0page {number}")
    try:
        picture = as_png(next(page_pictures(file, [number], dpi=_DPI)))
    except (Rejected, OSError) as error:
        channel.send(str(error))
    else:
        channel.send(picture)
