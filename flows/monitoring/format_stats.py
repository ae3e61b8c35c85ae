"""What a run learns of its documents on the way: the outcome for each format, and the slowest readings.

Both are bounded, however many documents there are.
"""

import heapq
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath

from millrace.tasks.documents import FORMATS
from millrace.tasks.records import JsonValue
from millrace.tasks.stages.part_writer import Part

_SLOWEST = 20
_FORMATS = 40
OTHERS = "others"


@dataclass(slots=True)
class FormatCounts:
    """The documents of one format: those that are in, those of which some pages or rows are missing, and the rejected.

    `reading_s` is about what their reading took: a part's time is shared out by size among its documents.
    """

    whole: int = 0
    partly: int = 0
    rejected: int = 0
    chunks: int = 0
    tokens: int = 0
    size_bytes: int = 0
    reading_s: float = 0.0


@dataclass(frozen=True, slots=True, order=True)
class SlowRead:
    """A part that took long to be read and cut: `largest` is the largest of its `documents` documents."""

    seconds: float
    largest: str
    documents: int
    chunks: int
    size_bytes: int


@dataclass(slots=True)
class FormatStats:
    """Filled a part at a time. `reading_s` is the sum over all readers, `loading_s` over all parts."""

    formats: dict[str, FormatCounts] = field(default_factory=dict)
    reading_s: float = 0.0
    loading_s: float = 0.0
    _slowest: list[SlowRead] = field(default_factory=list)
    _unfinished_s: dict[int, tuple[float, int]] = field(default_factory=dict)  # by job: seconds, chunks

    def part_cut(self, part: Part, seconds: float) -> None:
        """A part was read and cut in `seconds`; those of a document that goes on in the next part count there."""
        self.reading_s += seconds
        before_s, before_chunks = self._unfinished_s.pop(part.job, (0.0, 0))
        seconds, chunks = seconds + before_s, part.chunks + before_chunks
        rows = part.documents.select(["path", "source", "size_bytes"]).to_pylist()
        if not rows:
            self._unfinished_s[part.job] = seconds, chunks
            return
        size_bytes = sum(row["size_bytes"] for row in rows)
        for row in rows:
            share = row["size_bytes"] / size_bytes if size_bytes else 1 / len(rows)
            self._of(row["path"]).reading_s += seconds * share
        largest = max(rows, key=lambda row: row["size_bytes"])["source"]
        heapq.heappush(self._slowest, SlowRead(seconds, largest, len(rows), chunks, size_bytes))
        if len(self._slowest) > _SLOWEST:
            heapq.heappop(self._slowest)

    def part_loaded(self, part: Part, seconds: float) -> None:
        """A part is in the collection, and what ended in it in the manifest."""
        self.loading_s += seconds
        for row in part.documents.select(["path", "status", "rejects", "chunks", "tokens", "size_bytes"]).to_pylist():
            counts = self._of(row["path"])
            if row["status"] != "live":
                counts.rejected += 1
            elif row["rejects"]:
                counts.partly += 1
            else:
                counts.whole += 1
            counts.chunks += row["chunks"]
            counts.tokens += row["tokens"]
            counts.size_bytes += row["size_bytes"]

    def as_values(self) -> Mapping[str, JsonValue]:
        """Plain values, for a file: formats by name, the slowest readings first."""
        return {
            "formats": {name: _rounded(asdict(counts)) for name, counts in sorted(self.formats.items())},
            "slowest": [_rounded(asdict(reading)) for reading in sorted(self._slowest, reverse=True)],
            "reading_s": round(self.reading_s, 3),
            "loading_s": round(self.loading_s, 3),
        }

    def _of(self, path: str) -> FormatCounts:
        suffix = PurePosixPath(path).suffix.lower()
        name = FORMATS.get(suffix, suffix.lstrip(".") or "text")
        if name not in self.formats and len(self.formats) >= _FORMATS:
            name = OTHERS
        return self.formats.setdefault(name, FormatCounts())


def _rounded(values: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}
