"""A sample counts every file, is the same for the same seed, and reads what it says."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.lake import Lake
from millrace.tasks.quality.sampling import allocated, draw_sample
from millrace.tasks.records import CHUNK_SCHEMA, MANIFEST_SCHEMA, text_key

FILES = {"a.md": 1, "b.md": 40, "c.md": 9}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Files of so many chunks, in one part each, and a record file of 30 documents."""
    lake = Lake.open(tmp_path, "documents")
    documents = [(name, name, chunks) for name, chunks in FILES.items()]
    documents += [(f"log.jsonl#{n}", "log.jsonl", 1) for n in range(30)]
    rows = []
    for job, (source, path, chunks) in enumerate(documents, start=1):
        contents = [f"chunk {n} of {source}" for n in range(chunks)]
        lake.chunks.write(job, 0, chunk_rows(source, contents))
        rows.append(
            {"source": source, "path": path, "size_bytes": 1, "mtime_ns": 1, "file_hash": "", "document_hash": "",
             "fingerprint": "", "space": "space", "status": "live", "job": job, "part_first": 0, "part_last": 0,
             "chunks": chunks, "tokens": chunks, "rejects": 0, "run": "run"}
        )  # fmt: skip
    lake.manifest.commit(pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA), "run")
    lake.close()
    return Lake.open(tmp_path, "documents", read_only=True)


def chunk_rows(source: str, contents: list[str]) -> pa.Table:
    rows = [
        {"id": f"{source} {n}", "source": source, "content": content, "text_key": text_key(content), "tokens": 1,
         "metadata": "{}", "row_hash": b"0" * 16}
        for n, content in enumerate(contents)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=CHUNK_SCHEMA)


def test_every_file_has_a_chunk_in_the_sample_and_long_ones_have_more(lake: Lake) -> None:
    sample = draw_sample(lake, lake.manifest.read(), size=20, seed=0)
    counts = Counter(sample.rows["path"].to_pylist())
    assert sample.chunks == 80
    assert counts.total() == sample.rows.num_rows == 20
    assert counts["a.md"] == 1
    assert counts["b.md"] > counts["log.jsonl"] > counts["c.md"] >= 1


def test_the_same_seed_draws_the_same_chunks_and_another_others(lake: Lake) -> None:
    manifest = lake.manifest.read()
    drawn = [draw_sample(lake, manifest, size=20, seed=seed).rows["id"].to_pylist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 20


def test_a_sample_larger_than_the_lake_is_all_of_it(lake: Lake) -> None:
    sample = draw_sample(lake, lake.manifest.read(), size=500, seed=3)
    assert sorted(sample.rows["content"].to_pylist()) == sorted(
        [f"chunk {n} of {name}" for name, chunks in FILES.items() for n in range(chunks)]
        + [f"chunk 0 of log.jsonl#{n}" for n in range(30)]
    )


def test_of_more_files_than_the_sample_has_chunks_each_gives_one_or_none(lake: Lake) -> None:
    sample = draw_sample(lake, lake.manifest.read(), size=2, seed=0)
    assert set(Counter(sample.rows["path"].to_pylist()).values()) == {1}
    assert sample.rows.num_rows == 2


def test_a_part_that_cannot_be_read_is_named_and_the_others_are_asked(lake: Lake) -> None:
    next(Path(str(lake.chunks_dir)).glob("part-000002-*")).unlink()
    sample = draw_sample(lake, lake.manifest.read(), size=500, seed=0)
    assert "part-000002" in sample.problems[0]
    assert sample.rows.num_rows == 40


@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=30), st.integers(0, 500))
def test_shares_are_never_more_than_there_is_and_add_up(sizes: list[int], more: int) -> None:
    total = len(sizes) + more
    shares = allocated(sizes, total)
    assert sum(shares) == min(total, sum(sizes))
    assert all(1 <= share <= size for share, size in zip(shares, sizes, strict=True))
