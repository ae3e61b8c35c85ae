"""The nouns that rooms and stages share: documents, chunks, rejects, ids, and the Arrow schemas of the lake.

Nothing here reads a file, opens a connection or knows a format.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import numpy as np
import pyarrow as pa

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"

Stage = Literal["scan", "read", "chunk", "embed", "load"]

TEXT_KEY_BYTES = 32

SPARSE_PAIR = np.dtype([("index", "<u4"), ("value", "<f4")])
"""One entry of a sparse vector. A sparse vector is the bytes of its entries, indices ascending and distinct: as Milvus
sends them and as the lake keeps them."""


class SourceFile(NamedTuple):
    """One file of a source, as a listing found it; nothing of it has been read.

    `path` is absolute; `name` is what documents call it in ids and metadata: the path itself, or the path below
    `sources.base`. `mtime_ns` and `ctime_ns` are the times of the last change of its content and of its inode, in
    nanoseconds since the epoch; `ctime_ns` and `inode` are 0 where the file system has no such thing. What is opened
    under `path` must lie in `within`, the file or folder that was named as a source, once all links are resolved; ""
    sets no bound. `reserved` are names of other files that its records must not take.
    """

    path: str
    name: str
    size_bytes: int
    mtime_ns: int
    within: str = ""
    ctime_ns: int = 0
    inode: int = 0
    reserved: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How much lies below the sources that no run reads, and why; a folder that is not entered counts once.

    `unsupported`: files that no reader takes, or that `sources.include` does not name, by suffix in lower case ("" for
    none). `hidden`: files and folders whose names begin with a dot. `excluded`: those that `sources.exclude` names.
    `by_tools`: what tools put beside documents (node_modules, caches, backup copies), by name of the folder or pattern.
    `not_regular`: pipes, sockets and devices.
    """

    unsupported: Mapping[str, int] = field(default_factory=dict)
    hidden: int = 0
    excluded: int = 0
    by_tools: Mapping[str, int] = field(default_factory=dict)
    not_regular: int = 0

    def __add__(self, other: "LeftOut") -> "LeftOut":
        """Both together.

        >>> (LeftOut({".png": 1}, hidden=2) + LeftOut({".png": 2, "": 1})).unsupported
        {'': 1, '.png': 3}
        """
        return LeftOut(
            unsupported=_sums(self.unsupported, other.unsupported),
            hidden=self.hidden + other.hidden,
            excluded=self.excluded + other.excluded,
            by_tools=_sums(self.by_tools, other.by_tools),
            not_regular=self.not_regular + other.not_regular,
        )

    @property
    def total(self) -> int:
        """All of them."""
        counts = (*self.unsupported.values(), *self.by_tools.values())
        return sum(counts) + self.hidden + self.excluded + self.not_regular

    def summary(self) -> str:
        """The counts in words, the most frequent suffixes first; "" when nothing was left out.

        >>> LeftOut({".docx": 3, "": 1}, hidden=2, by_tools={"node_modules/": 1}).summary()
        '4 files that no reader takes (3 .docx, 1 without a suffix), 2 hidden, 1 of tools (node_modules/)'
        """
        said = []
        if files := sum(self.unsupported.values()):
            said.append(
                f"{files:,} {'file' if files == 1 else 'files'} that no reader takes ({_by_suffix(self.unsupported)})"
            )
        said += [f"{self.hidden:,} hidden"] if self.hidden else []
        said += [f"{self.excluded:,} excluded"] if self.excluded else []
        if tools := sum(self.by_tools.values()):
            said.append(f"{tools:,} of tools ({', '.join(sorted(self.by_tools)[:8])})")
        said += [f"{self.not_regular:,} pipes, sockets or devices"] if self.not_regular else []
        return ", ".join(said)


def _sums(some: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    return {key: some.get(key, 0) + others.get(key, 0) for key in sorted({*some, *others})}


@dataclass(frozen=True, slots=True)
class FileCounts:
    """The files below the sources by suffix in lower case, "" for none; each is taken, rejected as a whole, or ignored.

    `ignored` are those of `LeftOut.unsupported`. What an archive holds is no file here; a file some pages or rows of
    which are rejects is taken.
    """

    taken: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, listed: Mapping[str, int], rejected: Iterable[str], ignored: Mapping[str, int]) -> Self:
        """The counts, from those of all files that were `listed`, and the names of those that were `rejected`."""
        refused = Counter(map(suffix_of, rejected))
        taken = {suffix: count - refused[suffix] for suffix, count in sorted(listed.items()) if count > refused[suffix]}
        return cls(taken, dict(sorted(refused.items())), ignored)

    def summary(self) -> str:
        """What was taken and what was rejected, in words, the most frequent suffixes first.

        >>> FileCounts({".md": 3, ".pdf": 1}, {".pdf": 2}).summary()
        '4 taken (3 .md, 1 .pdf), 2 rejected (2 .pdf)'
        """
        said = []
        for word, counts in (("taken", self.taken), ("rejected", self.rejected)):
            if total := sum(counts.values()):
                said.append(f"{total:,} {word} ({_by_suffix(counts)})")
        return ", ".join(said)


def suffix_of(name: str) -> str:
    """The suffix of a file name in lower case; a million of them are asked for.

    >>> suffix_of("a.d/b.Tar.GZ"), suffix_of("a.d/.hidden"), suffix_of("a.d/b")
    ('.gz', '', '')
    """
    dot = name.rfind(".")
    return name[dot:].lower() if dot > name.rfind("/") + 1 else ""


def _by_suffix(counts: Mapping[str, int]) -> str:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{count:,} {suffix or 'without a suffix'}" for suffix, count in ranked[:8]]
    return ", ".join(named + ([f"{len(ranked) - 8} more suffixes"] if len(ranked) > 8 else []))


@dataclass(frozen=True, slots=True)
class Page:
    """Page `number` (from 1) of a paged document is `text[start:end]`."""

    number: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a document: `text[start:end]`, one line a row; its header row is `text[start:body]`, if any."""

    start: int
    body: int
    end: int


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of `level` 1 (highest) to 9 whose line begins at character `start` of the text."""

    level: int
    title: str
    start: int


@dataclass(frozen=True, slots=True)
class Document:
    """The extracted text of one document, with where each part of it came from.

    `text` holds no lone surrogates, so it always encodes as UTF-8. `pages`, `headings` and `tables` are ordered by
    `start`; `pages` is empty where the format has none. `document_hash` is the SHA-256 (hex) of the bytes it was made
    from: the file, or the record. `extra` is metadata of its own: the columns of a record, the headers of a mail.
    `blank_pages` counts pages that hold nothing, `running_lines` heads and feet of pages that were left out.
    """

    source: str
    text: str
    title: str
    document_hash: str
    pages: tuple[Page, ...] = ()
    headings: tuple[Heading, ...] = ()
    extra: Mapping[str, JsonValue] = field(default_factory=dict)
    blank_pages: int = 0
    running_lines: int = 0
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class Reject:
    """An item that was not taken, why, and what can be done.

    `source` names the document; `item` the part of it that is meant ("" for the whole, "page 7", "row 12", a chunk id).
    `reason` is a stable snake_case code; `message` and `remedy` are for people.
    """

    stage: Stage
    source: str
    item: str
    reason: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class ChunkSection:
    """One of several sections in a chunk: it begins at character `start` of the text, on `page` if there are pages.

    `heading_path` is the part of its path below that of the chunk. The first section may begin before the chunk; its
    `start` is then that of the chunk.
    """

    start: int
    heading_path: tuple[str, ...]
    page: int | None

    def as_json(self) -> dict[str, JsonValue]:
        """As it is in the row's metadata."""
        place: dict[str, JsonValue] = {"start": self.start, "heading_path": list(self.heading_path)}
        return place if self.page is None else place | {"page": self.page}


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage that becomes one row: `content == document.text[start:end]`.

    `number` counts from 0 in document order; `tokens` is the tokenizer's count of `content` without the end mark.
    `page_start` and `page_end` are None where the document has no pages. Of a chunk that several sections share,
    `heading_path` is what their paths have in common, and `sections` says where each begins, but for the innermost
    ones, `sections_left_out` of them, where the list would have more than `SECTIONS_MAX_BYTES`. `context` is put before
    the content when it is embedded, and what is embedded has `embedded_tokens`; None is as many as the content.
    """

    id: str
    source: str
    content: str
    start: int
    end: int
    number: int
    tokens: int
    page_start: int | None
    page_end: int | None
    heading_path: tuple[str, ...]
    title: str
    document_hash: str
    extra: Mapping[str, JsonValue]
    sections: tuple[ChunkSection, ...] = ()
    sections_left_out: int = 0
    context: str = ""
    embedded_tokens: int | None = None

    def metadata(self) -> dict[str, JsonValue]:
        """The row's metadata; every key is always there, null where it does not apply, but for those of sections."""
        several: dict[str, JsonValue] = {}
        if self.sections or self.sections_left_out:
            several["sections"] = [section.as_json() for section in self.sections]
        if self.sections_left_out:
            several["sections_left_out"] = self.sections_left_out
        if self.context:
            several[CONTEXT_KEY] = self.context
        return {
            **self.extra,
            **several,
            "source": self.source,
            "title": self.title,
            "page_start": self.page_start,
            "page_end": self.page_end,
            "heading_path": list(self.heading_path),
            "start": self.start,
            "end": self.end,
            "chunk_number": self.number,
            "token_count": self.tokens,
            "document_hash": self.document_hash,
        }


METADATA_MAX_BYTES = 65_536
"""A Milvus server's limit for one JSON value. Source: `common.JSON.maxLength` of its configuration."""

SECTIONS_MAX_BYTES = 16_384
"""What the key `sections` takes of that at most, as `metadata_json` spells it."""

METADATA_KEYS = frozenset(
    [
        *("source", "title", "page_start", "page_end", "heading_path", "start", "end"),
        *("chunk_number", "token_count", "document_hash"),
    ]
)


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """What makes two vectors comparable: a vector bought in one space is never used in another.

    `endpoint` is "local", a provider's name for its official hosts, or the base URL of anything else. `text_type`
    ("document", "query") and `instruct` are "" where the endpoint knows no such thing. With `sparse` every text has a
    sparse vector beside the dense one.
    """

    endpoint: str
    model: str
    dimensions: int
    text_type: str = ""
    instruct: str = ""
    sparse: bool = False

    @property
    def name(self) -> str:
        """A folder name that is readable and unique, e.g. "text-embedding-v4-1024-3f9a0c1d2b4e5f60"."""
        fields = [self.endpoint, self.model, str(self.dimensions), self.text_type, self.instruct]
        fields += ["sparse"] if self.sparse else []
        readable = "".join(c if c.isascii() and (c.isalnum() or c in ".-_") else "-" for c in self.model)
        return f"{readable[:80]}-{self.dimensions}-{_digest(*fields).hex()[:16]}"


CONTEXT_KEY = "embedded_context"
"""The metadata key of what is put before a chunk's content when it is embedded."""


def embedded_text(content: str, context: str) -> str:
    """What is embedded of a chunk."""
    return f"{context}\n\n{content}" if context else content


def embedded_text_of(content: str, metadata: str) -> str:
    """What is embedded of a row with this content and metadata, which is JSON."""
    if f'"{CONTEXT_KEY}":' not in metadata:
        return content
    return embedded_text(content, str(json.loads(metadata).get(CONTEXT_KEY, "")))


def text_key(text: str) -> bytes:
    """The 32-byte key of a text in the vector store: its SHA-256, whatever its document, position or metadata."""
    return hashlib.sha256(text.encode()).digest()


def chunk_id(source: str, text: str, occurrence: int) -> str:
    """64 hex digits for the `occurrence`-th (from 0) chunk of `source` with this text; position plays no part.

    >>> chunk_id("a.md", "hello", 0) == chunk_id("a.md", "hello", 0) != chunk_id("a.md", "hello", 1)
    True
    """
    return _digest(source, text, str(occurrence)).hex()


def metadata_json(metadata: Mapping[str, JsonValue]) -> str:
    """The one spelling of a row's metadata: sorted keys, no spaces, UTF-8 as it is."""
    return json.dumps(metadata, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def row_hash(content: str, metadata: str) -> bytes:
    """16 bytes that change when the row's content or its metadata (as `metadata_json` spells it) changes."""
    return _digest(content, metadata)[:16]


def _digest(*fields: str) -> bytes:
    """SHA-256 over length-prefixed fields, so that no two lists of fields share a digest by their joints."""
    digest = hashlib.sha256()
    for encoded in (f.encode() for f in fields):
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.digest()


def sparse_bytes(indices: Sequence[int], values: Sequence[float]) -> bytes:
    """A sparse vector from its entries in any order; of entries with one index the largest value stays.

    Entries that are zero are left out, so the result may be b"".

    Raises:
        ValueError: an index is not in 0..2**32-1, a value is negative or not finite, or there is not one a value.

    >>> np.frombuffer(sparse_bytes([7, 3, 7], [0.5, 1.0, 0.25]), SPARSE_PAIR).tolist()
    [(3, 1.0), (7, 0.5)]
    """
    exact = np.asarray(indices, dtype=np.int64)
    weights = np.asarray(values, dtype=np.float32)
    if exact.ndim != 1 or exact.shape != weights.shape:
        raise ValueError(f"a sparse vector has one value an index; got {exact.shape} and {weights.shape}")
    if exact.size and (exact.min() < 0 or exact.max() > 0xFFFFFFFF):
        raise ValueError("an index of a sparse vector is not in 0..2**32-1")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("a value of a sparse vector is negative or not finite")
    order = np.lexsort((-weights, exact))
    exact, weights = exact[order], weights[order]
    retained = np.ones(exact.size, dtype=bool)
    retained[1:] = exact[1:] != exact[:-1]
    retained &= weights > 0
    pairs = np.empty(int(retained.sum()), SPARSE_PAIR)
    pairs["index"], pairs["value"] = exact[retained], weights[retained]
    return pairs.tobytes()


CHUNK_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("content", pa.string(), nullable=False),
        pa.field("text_key", pa.binary(TEXT_KEY_BYTES), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),
        pa.field("row_hash", pa.binary(16), nullable=False),
    ]
)
"""One row a chunk, in document order: what is, or is about to be, in the collection, without the vectors."""

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("file_hash", pa.string(), nullable=False),
        pa.field("document_hash", pa.string(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("space", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("job", pa.int32(), nullable=False),
        pa.field("part_first", pa.int32(), nullable=False),
        pa.field("part_last", pa.int32(), nullable=False),
        pa.field("chunks", pa.int32(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("rejects", pa.int32(), nullable=False),
        pa.field("run", pa.string(), nullable=False),
        pa.field("ctime_ns", pa.int64()),
        pa.field("inode", pa.int64()),
    ]
)
"""One row a document, as of the last commit.

`fingerprint` names the settings that shaped its rows (reading, chunking, embedding space), `space` the embedding
space alone. `status` is "live", "rejected" (nothing of the present version could be taken; an earlier version's rows,
if `chunks` > 0, stay), "leaving" (its rows are being deleted; seen only when that was interrupted) or "removed" (a
tombstone in a delta). Its chunks are the rows of its `source` in the parts
`part_first` to `part_last` of `job`; `rejects` counts its rejected pages, rows and chunks. `ctime_ns` and `inode` are
null in a lake that was written before they were recorded.
"""

ManifestRow = dict[str, Any]
"""One row of `MANIFEST_SCHEMA`."""

REJECT_SCHEMA = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("stage", "source", "item", "reason", "message", "remedy")]
)


def reject_table(rejects: Iterator[Reject] | list[Reject]) -> pa.Table:
    """Rejects as a table of `REJECT_SCHEMA`."""
    rows = [
        {"stage": r.stage, "source": r.source, "item": r.item, "reason": r.reason, "message": r.message,
         "remedy": r.remedy}
        for r in rejects
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=REJECT_SCHEMA)


def _embedded_tokens(chunk: Chunk) -> int:
    return chunk.tokens if chunk.embedded_tokens is None else chunk.embedded_tokens


def chunk_table(chunks: list[Chunk]) -> pa.Table:
    """Chunks as a table of `CHUNK_SCHEMA`, in the order given."""
    metadata = [metadata_json(c.metadata()) for c in chunks]
    return pa.table(
        {
            "id": [c.id for c in chunks],
            "source": [c.source for c in chunks],
            "content": [c.content for c in chunks],
            "text_key": pa.array(
                [text_key(embedded_text(c.content, c.context)) for c in chunks], pa.binary(TEXT_KEY_BYTES)
            ),
            "tokens": pa.array([_embedded_tokens(c) for c in chunks], pa.int32()),
            "metadata": metadata,
            "row_hash": pa.array(
                [row_hash(c.content, m) for c, m in zip(chunks, metadata, strict=True)], pa.binary(16)
            ),
        },
        schema=CHUNK_SCHEMA,
    )
