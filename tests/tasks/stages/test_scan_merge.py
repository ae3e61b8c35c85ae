"""The merge of listing and manifest finds what a plain comparison by dictionaries finds."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unittest.mock import patch

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.tasks.documents import list_files
from millrace.tasks.lake import Manifest
from millrace.tasks.lake.collection import delta_table
from millrace.tasks.records import MANIFEST_SCHEMA, ManifestRow, SourceFile
from millrace.tasks.stages import scan as scan_stage
from millrace.tasks.stages.known_files import DocumentSums
from millrace.tasks.stages.scan import Scan, scan

# Around the slash in the order of bytes, and where the order of UTF-16 is another one.
NAMES = ("a", "a!", "a-b", "a.b", "a0", "b#", "é", "\ue000", "\U0001f600")
Fate = Literal["same", "touched", "changed", "settings", "leaving", "unopened", "again", "two hashes", "no times"]
FATES: Sequence[Fate] = (
    "same",
    "touched",
    "changed",
    "settings",
    "leaving",
    "unopened",
    "again",
    "two hashes",
    "no times",
)


@dataclass(frozen=True)
class Known:
    """A file of the manifest: how it looks beside the one on the disk, in how many documents, and if it is gone."""

    fate: Fate
    records: int
    is_gone: bool


paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(lambda parts: "/".join(parts) + ".txt")
trees = st.dictionaries(paths, st.none() | st.builds(Known, st.sampled_from(FATES), st.integers(1, 4), st.booleans()))


def row_of(path: Path, record: int, known: Known) -> ManifestRow:
    stat = path.stat()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    odd = {"changed": "0" * 64, "unopened": "", "two hashes": f"{record:064}"}
    blank = {field.name: "" if field.type == "string" else 0 for field in MANIFEST_SCHEMA}
    return blank | {
        "source": f"{path}#{record}" if known.records > 1 else str(path),
        "path": str(path),
        "size_bytes": stat.st_size,
        "mtime_ns": stat.st_mtime_ns - (known.fate in ("touched", "changed")),
        "ctime_ns": None if known.fate == "no times" else stat.st_ctime_ns,
        "inode": None if known.fate == "no times" else stat.st_ino,
        "file_hash": odd.get(known.fate, digest),
        "fingerprint": "another" if known.fate == "settings" else "one",
        "status": "leaving" if known.fate == "leaving" else "rejected" if record == 3 else "live",
        "chunks": record,
    }


@dataclass(frozen=True)
class Plain:
    """The comparison as it would be written for a few files."""

    read: list[str]
    touched: set[str]
    gone: set[str]

    @classmethod
    def of(cls, files: Sequence[SourceFile], rows: Sequence[ManifestRow], again: set[str]) -> "Plain":
        by_path: dict[str, list[ManifestRow]] = {}
        for row in rows:
            by_path.setdefault(row["path"], []).append(row)
        read, touched = [], set()
        for file in files:
            known = by_path.pop(file.path, [])
            usable = len({row["file_hash"] for row in known}) == 1 and all(
                row["fingerprint"] == "one"
                and row["status"] != "leaving"
                and row["file_hash"]
                and row["source"] not in again
                for row in known
            )
            looks = (file.size_bytes, file.mtime_ns, file.ctime_ns, file.inode)
            if usable and looks[:2] == (known[0]["size_bytes"], known[0]["mtime_ns"]):
                if known[0]["ctime_ns"] is None:
                    touched.add(file.path)
            elif usable and known[0]["file_hash"] == hashlib.sha256(Path(file.path).read_bytes()).hexdigest():
                touched.add(file.path)
            else:
                read.append(file.path)
        return cls(read, touched, set(by_path))


def check(found: Scan, plain: Plain, rows: Sequence[ManifestRow]) -> None:
    def sources(paths: set[str]) -> list[str]:
        return sorted(row["source"] for row in rows if row["path"] in paths)

    kept = [row for row in rows if row["path"] not in plain.gone.union(plain.read)]
    assert [file.path for file in found.jobs.each_file()] == plain.read
    assert sorted(found.previous["source"].to_pylist()) == sources(set(plain.read))
    assert sorted(found.touched["source"].to_pylist()) == sources(plain.touched)
    assert sorted(found.removed["source"].to_pylist()) == sources(plain.gone)
    assert found.changed == len({row["path"] for row in rows}.intersection(plain.read))
    assert found.known == sum(row["chunks"] > 0 for row in rows)
    rejected = sum(row["status"] == "rejected" for row in kept)
    with_rows = sum(row["chunks"] > 0 for row in kept)
    assert found.unchanged == DocumentSums(len(kept), rejected, with_rows, sum(row["chunks"] for row in kept))


@settings(max_examples=40, deadline=None)
@given(trees, st.integers(1, 5), st.integers(0, 20))
def test_the_merge_finds_what_a_plain_comparison_finds(
    tree: dict[str, Known | None], at_a_time: int, folded: int
) -> None:
    with (
        tempfile.TemporaryDirectory() as name,
        patch.object(delta_table, "_BATCH_ROWS", at_a_time),
        patch.object(scan_stage, "_FILES_AT_A_TIME", at_a_time),
    ):
        root, rows = Path(name, "corpus"), []
        root.mkdir()
        for relative, known in tree.items():
            path = root / relative
            if any(parent.is_file() for parent in path.parents) or path.is_dir():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(relative)
            if known is not None:
                rows += [row_of(path, record, known) for record in range(known.records)]
                if known.is_gone:
                    path.unlink()
        elsewhere = [row | {"path": f"{name}/corpus-2{row['path']}", "source": f"else {row['source']}"} for row in rows]
        fates = {os.fspath(root / relative): known.fate for relative, known in tree.items() if known is not None}
        again = {row["source"] for row in rows if fates[row["path"]] == "again"}
        manifest = Manifest(Path(name, "lake"))
        everything = sorted(elsewhere + rows, key=lambda row: hashlib.sha256(row["source"].encode()).digest())
        manifest.commit(pa.Table.from_pylist(everything[:folded], schema=MANIFEST_SCHEMA), "folded")
        manifest.fold()
        manifest.commit(pa.Table.from_pylist(everything[folded:], schema=MANIFEST_SCHEMA), "delta")
        found = scan([root], manifest, fingerprint="one", again=again)
        files = [file for file in list_files([root]) if isinstance(file, SourceFile)]
        check(found, Plain.of(files, rows, again), rows)
        assert found.files == len(files)
        assert found.staying_with_rows == sum(row["chunks"] > 0 and row["status"] != "leaving" for row in everything)
