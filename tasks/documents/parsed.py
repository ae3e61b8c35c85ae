"""What costly parsers gave, kept by the hash of the file, so that the same file is not parsed twice.

This component does not know where it is kept: whoever reads documents says so with a `ParsedStore`.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Protocol, TypeVar

from millrace.tasks.documents.source_bytes import file_hash
from millrace.tasks.records import Document, Heading, Page, Reject, SourceFile, Table

ItemT = TypeVar("ItemT")

SLOW_S = 5.0
"""A file that took more seconds of CPU to read is kept."""


class ParsedStore(Protocol):
    """Keeps bytes by key, for as long as it likes."""

    def get(self, key: str) -> bytes | None:
        """What was put there; None when it is not known, or damaged."""

    def put(self, key: str, data: bytes) -> None:
        """Keep `data`."""


@dataclass(frozen=True, slots=True)
class ParsedFiles:
    """The store, None to keep nothing, and a name for all that shapes what millrace's own readers make of a file."""

    store: ParsedStore | None = None
    reading: str = ""

    def recall(self, *parts: str) -> bytes | None:
        """What is kept of what `parts` identify; None when it is not known."""
        return self.store.get(_key(parts)) if self.store is not None else None

    def keep(self, data: bytes, *parts: str) -> None:
        """Keep `data` as what `parts` identify."""
        if self.store is not None:
            self.store.put(_key(parts), data)

    def read_before(self, file: SourceFile, beat: Callable[[], None]) -> list[Document | Reject] | None:
        """The documents and rejects of a file that was slow to read; None when it is not known.

        Raises:
            OSError: the file cannot be read.
        """
        if self.store is None:
            return None
        digest = file_hash(file, beat)
        found = self.recall("read", digest, self.reading)
        return None if found is None else _items(found, file, digest)


NOTHING_KEPT = ParsedFiles()


def read_once(
    file: SourceFile,
    items: Iterator[ItemT],
    parsed: ParsedFiles,
    beat: Callable[[], None],
    *,
    cpu_s: float = 0.0,
    always: bool = False,
) -> Iterator[ItemT | Document | Reject]:
    """What is kept of the file, else `items`, which are then kept if reading them was slow, or `always`.

    Of a file that holds others nothing is kept: each of them has its own turn.

    `cpu_s` is the CPU time that went before. `items` are not begun when something is kept.

    Raises:
        Rejected, OSError: as reading the file does.
    """
    if (kept := parsed.read_before(file, beat)) is not None:
        yield from kept
        return
    read: list[ItemT | Document | Reject] = []
    while (item := _timed_next(items)) is not None:
        cpu_s += item[1]
        read.append(item[0])
        yield item[0]
    own = [item for item in read if isinstance(item, Document | Reject) and item.source == file.name]
    digest = next((item.document_hash for item in own if isinstance(item, Document)), "")
    if digest and len(own) == len(read) and (always or cpu_s > SLOW_S):
        parsed.keep(_as_json(own), "read", digest, parsed.reading)


def _timed_next(items: Iterator[ItemT]) -> tuple[ItemT, float] | None:
    """The next item, and the CPU time that it took; None at the end."""
    began = time.process_time()
    item = next(items, None)
    return None if item is None else (item, time.process_time() - began)


def _key(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _as_json(items: Iterable[Document | Reject]) -> bytes:
    rows = [["reject" if isinstance(item, Reject) else "document", asdict(item) | _own_title(item)] for item in items]
    return json.dumps(rows, ensure_ascii=False).encode()


def _own_title(item: Document | Reject) -> dict[str, str]:
    """Of a document without a title, "": the one that it has is the name of its file."""
    if isinstance(item, Document) and item.title == PurePosixPath(item.source).stem:
        return {"title": ""}
    return {}


def _items(data: bytes, file: SourceFile, digest: str) -> list[Document | Reject] | None:
    """What `_as_json` wrote, for a file of perhaps another name; None for what another version wrote."""
    try:
        return [_item(kind, fields, file, digest) for kind, fields in json.loads(data)]
    except (TypeError, KeyError, ValueError):
        return None


def _item(kind: str, fields: dict[str, object], file: SourceFile, digest: str) -> Document | Reject:
    fields = fields | {"source": file.name}
    if kind == "reject":
        return Reject(**fields)  # type: ignore[arg-type]
    makers = {"pages": Page, "headings": Heading, "tables": Table}
    parts = {name: tuple(make(**one) for one in fields[name]) for name, make in makers.items()}  # type: ignore[attr-defined]
    title = fields["title"] or PurePosixPath(file.name).stem
    return Document(**fields | parts | {"document_hash": digest, "title": title})  # type: ignore[arg-type]
