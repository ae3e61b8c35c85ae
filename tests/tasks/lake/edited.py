"""A lake whose documents are edited run by run, without reading, buying or a collection: parts and the manifest alone.

Document `n` in its version `v` has the rows "n v 0", "n v 1", ...
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from millrace.tasks.lake import Lake
from millrace.tasks.records import MANIFEST_SCHEMA, Chunk, chunk_id, chunk_table

BLANK = {name: "" if pa.types.is_string(MANIFEST_SCHEMA.field(name).type) else 0 for name in MANIFEST_SCHEMA.names}


def chunks_of(number: int, version: int, count: int, *, words: int = 1) -> list[Chunk]:
    contents = [f"{number} {version} {n}" + " word" * (words - 1) for n in range(count)]
    return [
        Chunk(chunk_id(str(number), content, 0), str(number), content, 0, 1, n, 1, None, None, (), "t", "h", {})
        for n, content in enumerate(contents)
    ]


@dataclass
class EditedLake:
    """`versions`: the version of each document that is in. `count`: of its rows. `words`: of each of them."""

    lake: Lake
    part_rows: int
    count: Callable[[int], int]
    words: int = 1
    versions: dict[int, int] = field(default_factory=dict)

    def run(self, documents: Iterable[int], *, compact: bool = True) -> None:
        """A new version of these documents, in as many parts as it takes, and the end of a run."""
        lake, job = self.lake, self.lake.next_job()
        rows: list[Chunk] = []
        of_manifest: list[Mapping[str, object]] = []
        number = 0
        for document in documents:
            self.versions[document] = self.versions.get(document, 0) + 1
            new = chunks_of(document, self.versions[document], self.count(document), words=self.words)
            if len(rows) + len(new) > self.part_rows:
                lake.chunks.write(job, number, chunk_table(rows))
                rows, number = [], number + 1
            rows += new
            place = {"job": job, "part_first": number, "part_last": number}
            of_manifest.append(BLANK | place | {"source": str(document), "status": "live", "chunks": len(new)})
        lake.chunks.write(job, number, chunk_table(rows))
        lake.manifest.commit(pa.Table.from_pylist(of_manifest, schema=MANIFEST_SCHEMA), f"job-{job}")
        self.settle(compact=compact)

    def settle(self, *, compact: bool = True) -> None:
        """The end of a run."""
        self.lake.manifest.fold()
        self.lake.mark_jobs_committed()
        if compact:
            self.lake.compact_chunks(part_rows=self.part_rows)
        self.lake.chunks.remove(self.lake.chunks.dangling(self.lake.manifest.read()))


def contents(lake: Lake, manifest: pa.Table) -> dict[str, list[str]]:
    """What every document of `manifest` holds, in order."""
    return {
        row["source"]: lake.chunks.read(
            row["job"], row["part_first"], row["part_last"], columns=["content"], sources=[row["source"]]
        )["content"].to_pylist()
        for row in manifest.to_pylist()
    }


def expected(versions: Mapping[int, int], count: Callable[[int], int]) -> dict[str, list[str]]:
    return {str(n): [c.content for c in chunks_of(n, version, count(n))] for n, version in versions.items()}
