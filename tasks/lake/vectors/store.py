"""The vector store of one embedding space: vectors by text key, on disk before an append returns.

An append is journalled and flushed; every `SEAL_ROWS` vectors the journal becomes a Parquet part in the background.
Parts are never changed, only replaced by a compaction that holds the same. The key index is derived. What is not yet
in a part is read from its journal; of that, two at most, memory holds the keys.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millrace.tasks.errors import LakeError
from millrace.tasks.lake.storage.atomic import Checkpoint, Damage, no_checkpoint, remove_files
from millrace.tasks.lake.storage.lease import Lease
from millrace.tasks.lake.storage.location import LakePath
from millrace.tasks.lake.vectors.compaction import PartMaker
from millrace.tasks.lake.vectors.group_commit import GroupCommit
from millrace.tasks.lake.vectors.journal import OpenSegment, Recovery, Segment, leftover_segments
from millrace.tasks.lake.vectors.lookup import Lookup
from millrace.tasks.lake.vectors.part_file import PartDamaged, VectorPart, check_part, part_name, part_number, read_keys
from millrace.tasks.lake.vectors.part_index import PartIndex
from millrace.tasks.lake.vectors.part_reader import PartReader
from millrace.tasks.lake.vectors.schema import KeyBytes, Layout, Vectors, keys_in
from millrace.tasks.lake.vectors.space import SpaceFolder
from millrace.tasks.records import TEXT_KEY_BYTES, EmbeddingSpace

SEAL_ROWS = 4_096
"""Vectors of a journal that becomes a part: 16 MiB of disk at 1,024 dimensions."""


IsUsed = Callable[[KeyBytes], npt.NDArray[np.bool_]]
"""Which of some keys are used."""


@dataclass(frozen=True, slots=True)
class Unused:
    """Vectors that are not used, and the tokens that were billed for them."""

    vectors: int = 0
    tokens: int = 0

    def __add__(self, other: "Unused") -> "Unused":
        return Unused(self.vectors + other.vectors, self.tokens + other.tokens)


class VectorStore:
    """The vectors of one space. Use `open`; one writer at a time, any number of readers, any thread."""

    def __init__(self, space_folder: SpaceFolder, lease: Lease | None, checkpoint: Checkpoint) -> None:
        self.space = space_folder.space
        self.recovered = Recovery()
        self._space_folder = space_folder
        self._lease = lease
        self._checkpoint = checkpoint
        self._layout = layout = Layout.of(space_folder.space)
        self._segments: tuple[Segment, ...] = ()
        self._listing_segments = threading.Lock()
        # Journals are read before parts are listed: one that is sealed in between is then found in its part.
        leftovers = leftover_segments(space_folder.local, layout)
        self._part_index = PartIndex(space_folder.folder, space_folder.index_folder, layout, read_only=lease is None)
        self._reader = PartReader(space_folder.folder, layout)
        self._lookup = Lookup(space_folder, self._part_index, self._reader, lambda: self._segments)
        self._maker = PartMaker(space_folder.folder, layout, self._part_index, self._reader, checkpoint)
        # Two threads: one appends to the journal and starts the next, one makes parts.
        self._commits: GroupCommit[pa.RecordBatch] = GroupCommit(self._commit, name="vector-journal")
        self._sealer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vector-parts")
        self._active: OpenSegment | None = None
        self._sealing: Future[None] | None = None
        self._recover(leftovers)

    @classmethod
    def open(
        cls,
        root: LakePath,
        space: EmbeddingSpace,
        *,
        journal_dir: Path | None = None,
        read_only: bool = False,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> Self:
        """The vector store of `space` below `root`, the lake's `vectors` folder.

        What an interrupted run has journalled becomes a part first; see `recovered`.

        Args:
            root: Made when it is not there, unless `read_only`; a store that is not there is then empty.
            space: Which vectors.
            journal_dir: A folder on a local disk for journals and index, where `root` is not on one.
            read_only: Touch nothing. A live writer's journal is seen as it was at this moment.
            checkpoint: See `tasks.lake.storage.atomic`.

        Raises:
            LeaseHeld: Another living process writes to it.
            LakeError: It cannot be read or written, or belongs to another space. Damaged parts raise nothing here:
                see `damaged`.
        """
        space_folder = SpaceFolder(root, space, journal_dir)
        lease = None if read_only else space_folder.prepare()
        try:
            space_folder.check()
            return cls(space_folder, lease, checkpoint)
        except LakeError:
            if lease is not None:
                lease.release()
            raise

    def missing(self, keys: Sequence[bytes] | KeyBytes) -> list[int]:
        """Positions in `keys` whose vector is not in the store, ascending.

        Args:
            keys: 32 bytes each, or uint8 of shape (n, 32).
        """
        return self._lookup.missing(keys)

    def read(self, keys: Sequence[bytes] | KeyBytes) -> Vectors:
        """The vectors of `keys`: float32, shape (n, dimensions), row i belongs to keys[i].

        Raises:
            LakeError: Some are not in the store, or the file that holds them is damaged; the message names it.
        """
        return self._lookup.read(keys)

    def read_sparse(self, keys: Sequence[bytes] | KeyBytes) -> list[bytes]:
        """The sparse vectors of `keys`, as `records.sparse_bytes` makes them; of parts nothing else is read.

        Raises:
            ValueError: The space has none.
            LakeError: As `read` does.
        """
        return self._lookup.read_sparse(keys)

    async def append(
        self, keys: Sequence[bytes], vectors: Vectors, tokens: Sequence[int], sparse: Sequence[bytes] | None = None
    ) -> None:
        """Return when the vectors are on disk; from then on `missing` and `read` know them.

        Args:
            keys: 32 bytes each.
            vectors: float32, shape (n, dimensions); row i belongs to keys[i]. Not to be changed afterwards.
            tokens: What was billed for each.
            sparse: Where the space has them, and only there: as `records.sparse_bytes` makes them, one a key.

        Raises:
            ValueError: Shapes or types do not fit together, or with the space.
            LakeError: They are not on disk; the store takes no more.
        """
        self._must_write()
        if len(keys):
            await self._commits.submit(self._layout.batch(keys, vectors, tokens, sparse))

    def seal(self) -> None:
        """Make a part of what is journalled, and return when it is one. Raises LakeError when the disk refuses."""
        self._must_write()
        sealing = self._commits.run(self._rotate)
        if sealing is not None:
            sealing.result()

    def compact(self, *, min_parts: int = 8) -> int:
        """How many small parts were merged into larger ones; fewer than `min_parts` are left for a later time.

        What was appended before is sealed first. Readers in other processes are not disturbed.
        """
        self.seal()
        return self._sealer.submit(lambda: self._maker.compact(min_parts=min_parts)).result()

    def close(self) -> None:
        """Seal what is journalled and release the lease. After a failed write the journal stays for the next run."""
        if self._commits.closed:
            return
        try:
            if self._lease is not None and self._commits.failure is None:
                self.seal()
        finally:
            self._commits.close()
            self._sealer.shutdown()
            if self._active is not None:
                self._active.journal.close()
            self._reader.close()
            if self._lease is not None:
                self._lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def damaged(self) -> list[Damage]:
        """The damaged parts found so far. Reading a vector of one raises an error that names it."""
        return self._part_index.damaged

    def parts(self) -> dict[LakePath, int]:
        """The parts in the order in which they were embedded: path to number of vectors."""
        return {self._space_folder.folder / name: rows for name, rows in self._part_index.rows().items()}

    def keys(self) -> Iterator[KeyBytes]:
        """All keys, a part at a time: uint8, shape (n, 32). A key can come twice. Damaged parts are passed over."""
        for path in self.parts():
            try:
                yield read_keys(path, self._layout)
            except PartDamaged as error:
                self._part_index.report(error.damage)
        for segment in self._segments:
            yield np.frombuffer(b"".join(segment.keys()), np.uint8).reshape(-1, TEXT_KEY_BYTES)

    def unused(self, is_used: IsUsed) -> Unused:
        """How many vectors are not used, and what was billed for them; damaged parts are passed over."""
        found = Unused()
        for path in self.parts():
            try:
                with VectorPart(path, self._layout) as part:
                    for number in range(part.groups):
                        group = part.group(number, ["text_key", "tokens"])
                        kept = is_used(keys_in(group["text_key"].chunk(0)))
                        tokens = group["tokens"].to_numpy()
                        found += Unused(int((~kept).sum()), int(tokens[~kept].sum()))
            except PartDamaged as error:
                self._part_index.report(error.damage)
        return found

    def drop_unused(self, is_used: IsUsed) -> int:
        """Write the parts anew without what is not used; how many vectors went. Raises LakeError."""
        self.seal()
        return self._sealer.submit(lambda: self._maker.drop_unused(is_used)).result()

    def check(self) -> Iterator[Damage]:
        """Read every part to its end, checksums verified, and yield those that are damaged."""
        for path in sorted({*self.parts(), *(damage.path for damage in self.damaged)}):
            damage = check_part(path, self._layout)
            if damage is not None:
                self._part_index.report(damage)
                yield damage

    def repair(self) -> int:
        """Move what can be read of damaged parts into new parts; returns how many vectors that saved.

        The damaged files become `*.damaged`. What could not be saved is missing from then on, and the next ingest
        embeds it again.
        """
        self.seal()
        paths = [damage.path for damage in self.check()]
        return sum(self._sealer.submit(self._maker.quarantine, path).result() for path in paths)

    def _must_write(self) -> None:
        if self._lease is None:
            raise LakeError(f"The vector store {self._space_folder.folder} was opened for reading.")

    def _recover(self, leftovers: list[tuple[Segment, Recovery]]) -> None:
        """Make parts of leftover journals; a reader reads them where they are."""
        parts = {path.name: rows for path, rows in self.parts().items()}
        numbers = [part_number(name) or 0 for name in parts] + [segment.number for segment, _ in leftovers]
        self._maker.number_from(max(numbers, default=0) + 1)
        for segment, recovery in leftovers:
            if self._lease is None:
                self.recovered += recovery
                self._segments = (*self._segments, segment)
            elif parts.get(part_name(segment.stem)) == segment.rows:
                remove_files([segment.path])  # killed between the two
            else:
                self.recovered += recovery
                self._maker.seal(segment, self._forget)

    def _commit(self, batches: list[pa.RecordBatch]) -> None:
        """In the journal thread: make the batches durable, then visible to readers."""
        if self._active is None:
            self._active = OpenSegment.start(self._space_folder.local, self._maker.new_stem(), self._layout)
            with self._listing_segments:
                self._segments = (*self._segments, self._active.segment)
        self._active.commit(batches)
        self._checkpoint("append: journalled")
        if self._active.segment.rows >= SEAL_ROWS:
            self._rotate()

    def _rotate(self) -> Future[None] | None:
        """In the journal thread: have the active segment sealed, once the one before is; there are two at most."""
        if self._sealing is not None:
            self._sealing.result()
        if self._active is not None:
            active, self._active = self._active, None
            active.journal.close()
            self._sealing = self._sealer.submit(self._seal, active.segment)
        return self._sealing

    def _seal(self, segment: Segment) -> None:
        self._maker.seal(segment, self._forget)
        self._maker.thin_out()

    def _forget(self, segment: Segment) -> None:
        with self._listing_segments:
            self._segments = tuple(other for other in self._segments if other is not segment)


SPARSE = pa.field("sparse", pa.binary())


def with_sparse(rows: pa.Table, store: VectorStore) -> pa.Table:
    """The rows, each with its sparse vector in a further column where the store's space has them.

    Raises:
        LakeError: Some are not in the store, or cannot be read.
    """
    if not store.space.sparse:
        return rows
    vectors = store.read_sparse(rows["text_key"].to_pylist())
    return rows.append_column(SPARSE, pa.array(vectors, SPARSE.type))
