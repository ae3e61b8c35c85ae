"""The vector store of one embedding space: what was paid for, findable by text, on disk before it counts.

An append is journalled and flushed; every `SEAL_ROWS` vectors the journal becomes a Parquet part in the background.
Parts are never changed, only replaced by a compaction that holds the same. The key index is derived. What is not yet
in a part is also in memory: at most two journals' worth.
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from tasks.errors import LakeError
from tasks.lake.batches import KeyBytes, Vectors, as_keys, vector_batch, vector_schema
from tasks.lake.catalogue import Catalogue
from tasks.lake.compaction import Merger, next_group
from tasks.lake.group_commit import GroupCommit
from tasks.lake.lease import Lease
from tasks.lake.parts import (
    Damage,
    PartDamaged,
    PartReader,
    check_part,
    new_stem,
    part_name,
    part_number,
    read_batches,
    read_keys,
    write_part,
)
from tasks.lake.segments import OpenSegment, Recovery, Segment, all_keys, leftover_segments
from tasks.lake.space import SpaceFolder
from tasks.lake.writing import Checkpoint, disk_errors, fsync_folder, pass_by, remove_files
from tasks.records import TEXT_KEY_BYTES, EmbeddingSpace

SEAL_ROWS = 4_096
"""Vectors of a journal that becomes a part: 16 MiB of memory and disk at 1,024 dimensions."""

_COMPACT_AT = 256
"""Parts of a folder beyond which a long run compacts on its way."""

_ATTEMPTS = 4
"""How often a read looks again when another process has just compacted the part away."""


class VectorStore:
    """The vectors of one space. Use `open`; one writer at a time, any number of readers."""

    def __init__(self, place: SpaceFolder, lease: Lease | None, catalogue: Catalogue, checkpoint: Checkpoint) -> None:
        self.space = place.space
        self._place = place
        self._lease = lease
        self._catalogue = catalogue
        self._checkpoint = checkpoint
        self._schema = vector_schema(place.space.dimensions)
        self._reader = PartReader(place.folder, place.space.dimensions)
        self._commits: GroupCommit[pa.RecordBatch] = GroupCommit(self._commit, name="vector-journal")
        self._sealer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vector-seal")
        self._rotating = threading.RLock()
        self._active: OpenSegment | None = None
        self._segments: tuple[Segment, ...] = ()
        self._sealing: Future[None] | None = None
        self._number = 0
        self.recovered = Recovery()

    @classmethod
    def open(
        cls,
        root: Path,
        space: EmbeddingSpace,
        *,
        journal_dir: Path | None = None,
        read_only: bool = False,
        checkpoint: Checkpoint = pass_by,
    ) -> Self:
        """The vector store of `space` below `root`, the lake's `vectors` folder.

        Args:
            root: Made when it is not there, unless `read_only`; a store that is not there is then empty.
            space: Which vectors.
            journal_dir: A folder on a local disk for journals and index, where `root` is not on one.
            read_only: Touch nothing. A live writer's vectors are seen as they were at this moment.
            checkpoint: See `tasks.lake.writing`.

        Raises:
            LeaseHeld: Another living process writes to it.
            LakeError: It cannot be read or written, or belongs to another space. Damaged parts raise nothing here:
                see `damaged`.
        """
        place = SpaceFolder(root, space, journal_dir)
        lease = None if read_only else place.prepare()
        place.check()
        try:
            leftovers = leftover_segments(place.local, vector_schema(space.dimensions))
            catalogue = Catalogue.open(place.folder, place.index_path, space.dimensions, read_only=read_only)
            store = cls(place, lease, catalogue, checkpoint)
            store._recover(leftovers)
        except LakeError:
            if lease is not None:
                lease.release()
            raise
        return store

    def missing(self, keys: Sequence[bytes] | KeyBytes) -> list[int]:
        """Positions in `keys` whose vector is not in the store, ascending.

        Args:
            keys: 32 bytes each, or uint8 of shape (n, 32).
        """
        wanted = as_keys(keys)
        segments = self._segments
        left = [i for i, key in enumerate(wanted) if not any(key in segment for segment in segments)]
        located = self._catalogue.locate(wanted[i] for i in left)
        return [i for i in left if wanted[i] not in located]

    def read(self, keys: Sequence[bytes] | KeyBytes) -> Vectors:
        """The vectors of `keys`: float32, shape (n, dimensions), row i belongs to keys[i].

        Raises:
            LakeError: Some are not in the store, or the part that holds them is damaged; the message names it.
        """
        wanted = as_keys(keys)
        out = np.empty((len(wanted), self.space.dimensions), np.float32)
        for _ in range(_ATTEMPTS):
            left = self._read_segments(wanted, out)
            try:
                self._read_parts(wanted, left, out)
            except FileNotFoundError:
                self._catalogue.refresh()
            else:
                return out
        raise LakeError(
            f"The parts in {self._place.folder} change while they are read. Try again when the writer is done."
        )

    async def append(self, keys: Sequence[bytes], vectors: Vectors, tokens: Sequence[int]) -> None:
        """Return when the vectors are on disk; from then on `missing` and `read` know them.

        Args:
            keys: 32 bytes each.
            vectors: float32, shape (n, dimensions); row i belongs to keys[i]. Not to be changed afterwards.
            tokens: What was billed for each.

        Raises:
            ValueError: Shapes or types do not fit together.
            LakeError: They are not on disk; the store takes no more.
        """
        if self._lease is None:
            raise LakeError(f"The vector store {self._place.folder} was opened for reading.")
        if len(keys):
            await self._commits.put(vector_batch(keys, vectors, tokens, self.space.dimensions))

    def seal(self) -> None:
        """Make a part of what is journalled, and return when it is one. Raises LakeError when the disk refuses."""
        self._commits.flush()
        with self._rotating:
            self._rotate()
            sealing = self._sealing
        if sealing is not None:
            sealing.result()

    def compact(self) -> int:
        """How many small parts were merged into larger ones. Readers in other processes are not disturbed."""
        self.seal()
        return self._sealer.submit(self._compact, 2).result()

    def close(self) -> None:
        """Seal what is journalled and give the lease back. After a failed write the journal stays for the next run."""
        try:
            self._commits.close()
            if self._lease is not None and self._commits.failure is None:
                self.seal()
        finally:
            self._sealer.shutdown()
            if self._active is not None:
                self._active.journal.close()
            self._reader.close()
            self._catalogue.close()
            if self._lease is not None:
                self._lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def damaged(self) -> list[Damage]:
        """Parts found damaged so far. Their vectors are missed, with a message, where they are read."""
        return self._catalogue.damaged

    def parts(self) -> dict[Path, int]:
        """The parts in order of purchase: path to vectors."""
        return {self._place.folder / name: rows for name, rows in self._catalogue.rows().items()}

    def keys(self) -> Iterator[KeyBytes]:
        """All keys, a part at a time: uint8, shape (n, 32). A key can come twice. Damaged parts are passed over."""
        for path in self.parts():
            try:
                yield read_keys(path)
            except PartDamaged as error:
                self._catalogue.report(error.damage)
        for segment in self._segments:
            yield np.frombuffer(b"".join(segment.keys()), np.uint8).reshape(-1, TEXT_KEY_BYTES)

    def check(self) -> Iterator[Damage]:
        """Read every part to its end, checksums verified, and yield those that are damaged."""
        for path in sorted({*self.parts(), *(damage.path for damage in self.damaged)}):
            damage = check_part(path, self.space.dimensions)
            if damage is not None:
                self._catalogue.report(damage)
                yield damage

    def repair(self) -> int:
        """How many vectors of the damaged parts were saved; the parts are set aside as `*.damaged`.

        What could not be saved is missing from then on, so that the next ingest buys it again.
        """
        self.seal()
        return self._sealer.submit(self._repair).result()

    def _recover(self, leftovers: list[tuple[Segment, Recovery]]) -> None:
        present = {path.stem.removeprefix("part-") for path in self.parts()}
        self._number = max((part_number(path.name) or 0 for path in self.parts()), default=0)
        for segment, recovery in leftovers:
            self._number = max(self._number, int(segment.stem.partition("-")[0]))
            if self._lease is None:
                self._segments = (*self._segments, segment)
            elif segment.stem in present:
                remove_files([segment.path])
            else:
                self.recovered += recovery
                self._seal(segment)

    def _read_segments(self, wanted: list[bytes], out: Vectors) -> list[int]:
        """Fill in what is in memory; the positions that are not are returned."""
        segments = self._segments
        left: list[int] = []
        for i, key in enumerate(wanted):
            vector = next((v for v in (segment.vector(key) for segment in segments) if v is not None), None)
            if vector is None:
                left.append(i)
            else:
                out[i] = vector
        return left

    def _read_parts(self, wanted: list[bytes], left: list[int], out: Vectors) -> None:
        located = self._catalogue.locate(wanted[i] for i in left)
        absent = [wanted[i].hex() for i in left if wanted[i] not in located]
        if absent:
            raise LakeError(
                f"{len(absent)} of {len(wanted)} vectors are not in {self._place.folder}, the first for the text key"
                f" {absent[0]}. Run `millrace ingest` again; it buys what is missing."
            )
        by_part: dict[str, list[int]] = {}
        for i in left:
            by_part.setdefault(located[wanted[i]][0], []).append(i)
        for name, positions in by_part.items():
            rows = np.array([located[wanted[i]][1] for i in positions], np.int64)
            keys = np.frombuffer(b"".join(wanted[i] for i in positions), np.uint8).reshape(-1, TEXT_KEY_BYTES)
            try:
                strangers = self._reader.gather(name, rows, keys, out, positions)
            except PartDamaged as error:
                self._catalogue.report(error.damage)
                raise
            if strangers:
                raise LakeError(
                    f"The index {self._place.index_path} says that {name} holds the text key"
                    f" {wanted[strangers[0]].hex()}, and it does not. Delete the index; it is made anew from the parts."
                )

    def _commit(self, batches: list[pa.RecordBatch]) -> None:
        with self._rotating:
            if self._active is None:
                self._active = OpenSegment.start(self._place.local, self._next_stem(), self._schema)
                self._segments = (*self._segments, self._active.segment)
            self._active.commit(batches)
            self._checkpoint("append: journalled")
            if self._active.segment.rows >= SEAL_ROWS:
                self._rotate()

    def _rotate(self) -> None:
        """Give the active segment to the sealing thread, when the one before is done: two are in memory at most."""
        if self._sealing is not None and (self._active is not None or self._sealing.done()):
            previous, self._sealing = self._sealing, None
            previous.result()
        if self._active is None:
            return
        active, self._active = self._active, None
        active.journal.close()
        self._sealing = self._sealer.submit(self._seal_and_tidy, active.segment)

    def _seal_and_tidy(self, segment: Segment) -> None:
        self._seal(segment)
        if len(self._catalogue.rows()) % _COMPACT_AT == 0:
            self._compact(8)

    def _seal(self, segment: Segment) -> None:
        path = self._place.folder / part_name(segment.stem)
        if segment.rows:
            write_part(path, self.space.dimensions, segment.batches, checkpoint=self._step("seal"))
            keys = np.frombuffer(all_keys(segment.batches), np.uint8).reshape(-1, TEXT_KEY_BYTES)
            self._catalogue.add(path, keys)
            self._checkpoint("seal: indexed")
        self._segments = tuple(other for other in self._segments if other is not segment)
        remove_files([segment.path])
        self._checkpoint("seal: journal deleted")

    def _compact(self, least: int) -> int:
        merged = 0
        while names := next_group(self._healthy_rows(), least=least):
            path = self._place.folder / part_name(self._next_stem())
            merger = Merger(self._place.folder, names)
            try:
                write_part(
                    path, self.space.dimensions, merger.batches(), replaces=names, checkpoint=self._step("compact")
                )
            except PartDamaged as error:
                self._catalogue.report(error.damage)
                continue
            self._catalogue.add(path, merger.keys(), supersedes=names)
            self._checkpoint("compact: indexed")
            self._reader.forget(names)
            for name in names:
                remove_files([self._place.folder / name])
                self._checkpoint("compact: part deleted")
            self._catalogue.drop(names)
            merged += len(names)
        return merged

    def _healthy_rows(self) -> dict[str, int]:
        damaged = {damage.path.name for damage in self.damaged}
        return {name: rows for name, rows in self._catalogue.rows().items() if name not in damaged}

    def _repair(self) -> int:
        saved = 0
        for damage in list(self.check()):
            path = damage.path
            try:
                batches = list(read_batches(path, salvage=True))
            except (PartDamaged, FileNotFoundError):
                batches = []
            if batches:
                rescue = self._place.folder / part_name(self._next_stem())
                write_part(rescue, self.space.dimensions, batches, checkpoint=self._step("repair"))
                self._catalogue.add(rescue, np.frombuffer(all_keys(batches), np.uint8).reshape(-1, TEXT_KEY_BYTES))
            self._reader.forget([path.name])
            with disk_errors(path, "Setting aside"):
                if path.exists():
                    path.rename(path.with_name(path.name + ".damaged"))
            fsync_folder(path.parent)
            self._catalogue.drop([path.name])
            saved += sum(batch.num_rows for batch in batches)
        return saved

    def _next_stem(self) -> str:
        with self._rotating:
            self._number += 1
            return new_stem(self._number)

    def _step(self, name: str) -> Checkpoint:
        return lambda step: self._checkpoint(f"{name}: {step}")
