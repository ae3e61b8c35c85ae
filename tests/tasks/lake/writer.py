"""A process that writes to a lake and can be killed at any point; run by the crash tests.

`writer.py append VECTORS FIRST COUNT [STEP]` appends texts FIRST to FIRST + COUNT, ten at a time and eight at once, printing
the numbers of each batch when it is acknowledged, then compacts and closes; `append-sparse` does so in a space with sparse
vectors. `writer.py read VECTORS FIRST COUNT` reads them
and prints COUNT. `writer.py ledger COLLECTION STEP` commits to the
manifest and the rejects and folds them. `writer.py chunks LAKE STEP` makes twelve documents of five rows, each in a part of its own,
prints their numbers and compacts. Each kills itself with SIGKILL at the first checkpoint called STEP ("" for none), the last two when
they fold the manifest and when they compact.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from millrace.tasks.errors import LakeError
from millrace.tasks.lake import Lake, Manifest, Rejects, VectorStore
from millrace.tasks.lake.vectors import compaction, store
from millrace.tasks.records import MANIFEST_SCHEMA, REJECT_SCHEMA, EmbeddingSpace, Reject, reject_table
from tests.tasks.lake.edited import EditedLake
from tests.tasks.lake.numbered import Texts


class KillAt:
    def __init__(self, step: str, *, armed: bool = True) -> None:
        self.step = step
        self.armed = armed

    def __call__(self, step: str) -> None:
        if self.armed and step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


async def append(root: Path, first: int, count: int, step: str, *, sparse: bool) -> None:
    texts = Texts(EmbeddingSpace("local", "numbers", 16, sparse=sparse))
    store = VectorStore.open(root, texts.space, checkpoint=KillAt(step))
    batches = iter(np.array_split(np.arange(first, first + count), max(1, count // 10)))

    async def worker() -> None:
        for batch in batches:
            numbers = batch.tolist()
            await texts.append(store, numbers)
            os.write(1, (" ".join(map(str, numbers)) + "\n").encode())

    await asyncio.gather(*(worker() for _ in range(8)))
    store.compact(min_parts=2)
    store.close()


def read(root: Path, first: int, count: int) -> None:
    texts = Texts(EmbeddingSpace("local", "numbers", 16))
    with VectorStore.open(root, texts.space, read_only=True) as store:
        texts.assert_holds(store, range(first, first + count))
    os.write(1, f"{count}\n".encode())


def row(source: str, status: str, job: int) -> dict[str, object]:
    blank: dict[str, object] = {field.name: "" if pa.types.is_string(field.type) else 0 for field in MANIFEST_SCHEMA}
    return blank | {"source": source, "status": status, "job": job, "chunks": 1}


def delta_table(collection: Path, step: str) -> None:
    kill = KillAt(step, armed=False)
    manifest = Manifest(collection, checkpoint=kill)
    for job in (1, 2, 3):
        rows = [row("kept", "live", 1)] if job == 1 else []
        rows += [row("changed", "live", job), row("removed", "removed" if job == 3 else "live", job)]
        manifest.commit(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA), f"job-{job}")
    rejects = Rejects(collection)
    refusal = Reject("read", "changed", "page 1", "encrypted", "it is encrypted", "decrypt it")
    rejects.replace(["changed", "kept"], reject_table([refusal]), run="r1", name="one")
    rejects.replace(["changed"], REJECT_SCHEMA.empty_table(), run="r2", name="two")
    rejects.fold()
    os.write(1, b"3\n")
    kill.armed = True
    manifest.fold()


def chunks(root: Path, step: str) -> None:
    kill = KillAt(step, armed=False)
    with Lake.open(root, "docs", checkpoint=kill) as lake:
        edited = EditedLake(lake, 100, lambda _: 5)
        for number in range(12):
            edited.run([number], compact=False)
        lake._jobs._reserved = lake._jobs._next  # as when the run before ended
        os.write(1, (" ".join(map(str, edited.versions)) + "\n").encode())
        kill.armed = True
        edited.settle()


if __name__ == "__main__":
    store.SEAL_ROWS = 300
    compaction._MANY = 4
    compaction.MAX_ROWS, compaction._SMALL = 1_200, 600
    try:
        if sys.argv[1] in {"append", "append-sparse"}:
            sparse = sys.argv[1] == "append-sparse"
            asyncio.run(append(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5], sparse=sparse))
        elif sys.argv[1] == "read":
            read(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
        elif sys.argv[1] == "chunks":
            chunks(Path(sys.argv[2]), sys.argv[3])
        else:
            delta_table(Path(sys.argv[2]), sys.argv[3])
    except LakeError as error:
        sys.exit(str(error))
