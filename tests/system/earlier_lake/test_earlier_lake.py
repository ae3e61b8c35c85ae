"""A lake written by commit 360f151 is gone on with: nothing is embedded again, and `verify` agrees.

How the lake was made is in README.md beside this file.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.tasks.lake import Lake

HERE = Path(__file__).parent
COLLECTIONS = {"documents": 15, "handbook": 5}  # rows


@dataclass(frozen=True)
class Earlier:
    """A copy of the earlier lake and its corpus in a folder of its own."""

    folder: Path

    def run(self, command: str, collection: str = "documents", *, sources: bool = True) -> dict[str, Any]:
        """What the command prints with `--json`, and its exit code as "exit"."""
        values = {
            "lake.path": "lake",
            "milvus.uri": "milvus.db",
            "milvus.collection": collection,
            "sources.base": "corpus",
            "chunking.max_tokens": "48",
            "documents.text_column": "text",
        }
        given = ["corpus/水磨.md", "corpus/mill.md"] if collection == "handbook" else ["corpus"]
        overrides = [part for name, value in values.items() for part in ("--set", f"{name}={value}")]
        words = [str(Path(sys.executable).parent / "millrace"), command, *(given if sources else []), *overrides]
        done = subprocess.run([*words, "--json"], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        printed: dict[str, Any] = json.loads(done.stdout)
        return printed | {"exit": done.returncode}


def restored(name: str, folder: Path) -> Earlier:
    """The lake `name` and the corpus in `folder`, as if they had always been there: times and absolute paths fit."""
    shutil.copytree(HERE / "corpus", folder / "corpus")
    shutil.copytree(HERE / name, folder / "lake")
    for path in (folder / "lake").glob("*/manifest.parquet"):
        manifest = pq.read_table(path)
        names = manifest["source"].to_pylist()
        files = [folder / "corpus" / name.partition("#")[0] for name in names]
        for file, mtime_ns in zip(files, manifest["mtime_ns"].to_pylist(), strict=True):
            os.utime(file, ns=(mtime_ns, mtime_ns))
        at = manifest.schema.get_field_index("path")
        moved = manifest.set_column(at, manifest.schema.field(at), pa.array([str(file) for file in files]))
        pq.write_table(moved.replace_schema_metadata(manifest.schema.metadata), path)
    return Earlier(folder)


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_an_earlier_lake_is_gone_on_with_and_nothing_is_embedded_again(collection: str, tmp_path: Path) -> None:
    earlier = restored("lake", tmp_path)
    plan = earlier.run("plan", collection)
    assert (plan["estimate"]["requests"], plan["chunks"]["embedded"], plan["chunks"]["deleted"]) == (0, 0, 0)
    assert earlier.run("rebuild", collection, sources=False)["exit"] == 0  # the collection was left out of the copy
    run = earlier.run("ingest", collection)
    assert run["requests"]["sent"] == 0
    # Files are read anew, since reading has improved; a row of the same text may have other metadata than then.
    chunks = [run["chunks"][name] for name in ("total", "embedded", "deleted")]
    assert chunks == [COLLECTIONS[collection], 0, 0]
    verified = earlier.run("verify", collection)
    assert (verified["exit"], verified["rows"]) == (0, COLLECTIONS[collection]), verified
    manifest = pq.read_metadata(earlier.folder / "lake" / collection / "manifest.parquet")
    assert manifest.row_group(0).sorting_columns  # the present form


def test_what_an_earlier_lake_remembers_of_its_runs_is_read(tmp_path: Path) -> None:
    earlier = restored("lake", tmp_path)
    with Lake.open(earlier.folder / "lake", "documents", read_only=True) as lake:
        assert [run.exit for run in lake.runs.newest()] == [3, 3, 3]
        assert [usage.tokens_counted for usage in lake.usage.oldest_first()] == [399, 26]
        assert all(lake.timelines.of(run.id) is not None for run in lake.runs.newest())
        assert lake.rejects.outstanding()["source"].to_pylist() == ["empty.md"]
        assert lake.damaged_records() == []


def test_an_earlier_run_that_was_killed_is_gone_on_with_and_nothing_is_embedded_twice(tmp_path: Path) -> None:
    earlier = restored("killed", tmp_path)
    run = earlier.run("ingest")
    chunks = run["chunks"]
    assert (run["requests"]["sent"], chunks["embedded"], chunks["reused"], chunks["upserted"]) == (0, 0, 15, 15)
    verified = earlier.run("verify")
    assert verified["exit"] == 0, verified
