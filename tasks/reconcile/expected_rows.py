"""What the lake says the collection holds: the rows that the manifest's documents own, a part at a time.

Joins nothing but the lake: the manifest names parts, the parts hold rows, and rows of documents that have moved on
belong to none. What cannot be read comes as damage with the documents that it concerns, so that a row that is merely
unknown is not taken for one that no document owns.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from millrace.tasks.errors import LakeError, LakeUnreachable
from millrace.tasks.lake import Lake, PartName, VectorStore
from millrace.tasks.lake.vectors.store import SPARSE
from millrace.tasks.records import CHUNK_SCHEMA, MANIFEST_SCHEMA, EmbeddingSpace

_COLUMNS = ["source", "job", "part_first", "part_last", "chunks", "space"]
_SORTED_AT_ONCE = 1 << 15  # documents, or as many chunks
_MOST_FILES = 256
_IN_MEMORY_BYTES = 1_000_000

Vectors = npt.NDArray[np.float32]
"""The column beside those of `CHUNK_SCHEMA` in which sparse vectors travel with their rows."""


@dataclass(frozen=True, slots=True)
class ExpectedRows:
    """Rows (`CHUNK_SCHEMA`) of one part that documents own, all of whose vectors are in one space, by its name.

    With `damage`, a sentence that ends in the remedy, there are no rows, and `sources` names the documents whose rows
    are unknown for it.
    """

    part: PartName
    space: str
    rows: pa.Table
    damage: str = ""
    sources: frozenset[str] = frozenset()


def expected_rows(lake: Lake) -> Iterator[ExpectedRows]:
    """The rows of every document of the manifest, in order of job and part; one part in memory at a time.

    Rows of a document that an interrupted run was deleting have no owner any more.
    """
    for documents in _documents_by_job(lake):
        jobs, starts = np.unique(documents["job"].to_numpy(), return_index=True)
        bounds = [*starts.tolist(), documents.num_rows]
        for job, start, end in zip(jobs.tolist(), bounds[:-1], bounds[1:], strict=True):
            yield from _rows_of_job(lake, job, documents.slice(start, end - start))


def _documents_by_job(lake: Lake) -> Iterator[pa.Table]:
    """The documents with rows in order of their jobs, those of some jobs in memory at a time.

    The manifest has them in order of paths. So they are dealt out by their job to temporary files, each of which is
    then put in order.
    """
    ranges = lake.row_ranges()
    chunks = np.cumsum(ranges["chunks"].to_numpy())
    share = chunks // max(_SORTED_AT_ONCE, int(chunks[-1:].sum()) // _MOST_FILES)
    firsts = np.unique([0, *ranges["job"].to_numpy()[1:][np.diff(share) > 0]])  # the first job of each file
    schema = MANIFEST_SCHEMA.empty_table().select(_COLUMNS).schema
    files = [tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) for _ in firsts]  # noqa: SIM115 - closed below
    writers = [pa.ipc.new_stream(file, schema) for file in files]
    for documents in lake.manifest.batches([*_COLUMNS, "status"]):
        stays = pc.and_(pc.greater(documents["chunks"], 0), pc.not_equal(documents["status"], "leaving"))
        live = documents.filter(stays).select(_COLUMNS)
        at = np.searchsorted(firsts, live["job"].to_numpy(), "right") - 1
        for number in np.unique(at).tolist():
            writers[number].write_table(live.filter(pa.array(at == number)))
    for file, writer in zip(files, writers, strict=True):
        writer.close()
        file.seek(0)
        yield pa.ipc.open_stream(file).read_all().sort_by("job")
        file.close()


def _rows_of_job(lake: Lake, job: int, documents: pa.Table) -> Iterator[ExpectedRows]:
    found: Counter[str] = Counter()
    unknown: set[str] = set()
    for number in _numbers(documents):
        here = pc.and_(pc.less_equal(documents["part_first"], number), pc.greater_equal(documents["part_last"], number))
        for space, sources in _by_space(documents.filter(here)).items():
            try:
                rows = lake.chunks.read(job, number, number, sources=sources)
            except LakeUnreachable:
                raise
            except LakeError as error:
                unknown.update(sources)
                yield _damaged(PartName(job, number), space, str(error), frozenset(sources))
            else:
                found.update(rows["source"].to_pylist())
                yield ExpectedRows(PartName(job, number), space, rows)
    for document in documents.select(["source", "part_first", "chunks", "space"]).to_pylist():
        source, expected = document["source"], document["chunks"]
        if source not in unknown and found[source] != expected:
            name = PartName(job, document["part_first"])
            message = (
                f"{lake.chunks.path(name)} and what follows it hold {found[source]} rows of {source}, and the manifest "
                f"counts {expected}. Run `millrace verify --repair`, which makes them again from the source; vectors "
                "are not embedded again."
            )
            yield _damaged(name, document["space"], message, frozenset([source]))


def _numbers(documents: pa.Table) -> list[int]:
    ranges = zip(documents["part_first"].to_pylist(), documents["part_last"].to_pylist(), strict=True)
    return sorted({number for first, last in ranges for number in range(first, last + 1)})


def _by_space(documents: pa.Table) -> dict[str, list[str]]:
    """Sources by the name of their space: one space, but for a document whose new version could not be taken."""
    spaces: dict[str, list[str]] = {}
    for source, space in zip(documents["source"].to_pylist(), documents["space"].to_pylist(), strict=True):
        spaces.setdefault(space, []).append(source)
    return spaces


def _damaged(part: PartName, space: str, message: str, sources: frozenset[str]) -> ExpectedRows:
    return ExpectedRows(part, space, CHUNK_SCHEMA.empty_table(), message, sources)


@dataclass(frozen=True, slots=True, eq=False)
class RowsWithVectors:
    """Rows of one space with what the lake has for them.

    `rows`: `CHUNK_SCHEMA`, and in a space with sparse vectors the column "sparse". `vectors`: float32, shape
    (n, dimensions). `has_vector`: bool (n,), whether the lake has the vectors of a row; those missing are not a
    number, and null.
    """

    rows: pa.Table
    vectors: Vectors
    has_vector: npt.NDArray[np.bool_]

    def taken(self, positions: npt.NDArray[np.int64]) -> tuple[pa.Table, Vectors]:
        """The rows at these positions, and their vectors."""
        return self.rows.take(pa.array(positions)), self.vectors[positions]


class VectorStores:
    """The vector stores of some spaces. Use as a context manager."""

    def __init__(self, lake: Lake, names: Iterable[str], space: EmbeddingSpace) -> None:
        """Open a store for each of the spaces called `names`, and of `space`, as the lake was: to read, or to write.

        Raises:
            LakeError: A store cannot be read, or written by us.
        """
        wanted = {*names, space.name}
        known = {space.name: space}
        if wanted - known.keys():
            known |= {summary.space.name: summary.space for summary in lake.spaces()}
        self._open: dict[str, VectorStore] = {}
        try:
            for name in sorted(wanted & known.keys()):
                self._open[name] = lake.vectors(known[name])
        except LakeError:
            self.close()
            raise

    @property
    def by_name(self) -> Mapping[str, VectorStore]:
        """The stores; a space that the lake does not have any more has none."""
        return self._open

    def read(self, expected: ExpectedRows) -> RowsWithVectors:
        """The rows with their vectors. A vector in a damaged part is one that the lake lacks."""
        store = self._open.get(expected.space)
        count = expected.rows.num_rows
        if store is None:
            return RowsWithVectors(expected.rows, np.full((count, 1), np.nan, np.float32), np.zeros(count, np.bool_))
        keys = expected.rows["text_key"].to_pylist()
        vectors = np.full((count, store.space.dimensions), np.nan, np.float32)
        sparse: list[bytes | None] = [None] * count
        has_vector = np.ones(count, np.bool_)
        has_vector[store.missing(keys)] = False
        present = np.flatnonzero(has_vector).tolist()
        try:
            _read_into(vectors, sparse, store, keys, present)
        except LakeUnreachable:
            raise
        except LakeError:
            # A part among them is damaged. Alone, each vector shows whether it can still be read.
            for position in present:
                try:
                    _read_into(vectors, sparse, store, keys, [position])
                except LakeError:
                    has_vector[position] = False
        rows = (
            expected.rows.append_column(SPARSE, pa.array(sparse, SPARSE.type)) if store.space.sparse else expected.rows
        )
        return RowsWithVectors(rows, vectors, has_vector)

    def close(self) -> None:
        """Close all stores."""
        for store in self._open.values():
            store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _read_into(
    vectors: Vectors, sparse: list[bytes | None], store: VectorStore, keys: list[bytes], positions: list[int]
) -> None:
    """Fill in the vectors at these positions. Raises LakeError when one of them cannot be read."""
    wanted = [keys[position] for position in positions]
    vectors[positions] = store.read(wanted)
    if store.space.sparse:
        for position, vector in zip(positions, store.read_sparse(wanted), strict=True):
            sparse[position] = vector
