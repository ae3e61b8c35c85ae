"""Files on their way into a new collection: each row once, few files at a time, and a failure told in the server's words."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.tasks.errors import CollectionError
from millrace.tasks.milvus import FileState
from millrace.tasks.reconcile import bulk_import
from millrace.tasks.reconcile.bulk_import import AT_ONCE, ImportFolder, ImportWriter, doubled_ids


class Server:
    """Reads each file as it is asked to, and says that it is done when it is asked for the `slow`-th time."""

    def __init__(self, *, slow: int = 1, failure: str = "") -> None:
        self.rows: list[str] = []
        self.most_files = 0
        self.finished = 0
        self._slow = slow
        self._failure = failure
        self._asked: dict[int, int] = {}

    def columns(self, rows: pa.Table) -> pa.Table:
        return rows.select(["id"])

    def start(self, file: str) -> int:
        table = pq.read_table(file)
        assert table.column_names == ["id", "embedding"]
        self.rows += table["id"].to_pylist()
        self.most_files = max(self.most_files, len(list(Path(file).parent.iterdir())))
        self._asked[len(self._asked)] = 0
        return len(self._asked) - 1

    def state(self, task: int) -> FileState:
        self._asked[task] += 1
        is_done = self._asked[task] >= self._slow and not self._failure
        return FileState(rows=0, percent=min(40 * self._asked[task], 80), is_done=is_done, failure=self._failure)

    def finish(self, rows: int) -> None:
        self.finished = rows


@pytest.fixture
def folder(tmp_path: Path) -> ImportFolder:
    return ImportFolder(tmp_path / "import", (tmp_path / "import").as_posix())


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_import, "FILE_BYTES", 10 * 4 * 4)  # ten rows


def rows_of(*ids: str) -> tuple[pa.Table, Any]:
    return pa.table({"id": list(ids)}), np.ones((len(ids), 4), np.float32)


def filled(server: Server, folder: ImportFolder, **more: Any) -> ImportWriter:
    return ImportWriter(server, folder, sleep=lambda _: None, **more)  # type: ignore[arg-type]


def test_every_row_is_in_once_and_the_files_are_gone(folder: ImportFolder) -> None:
    server = Server(slow=3)
    counted: list[int] = []
    parts = [[f"{part}-{number}" for number in range(7)] for part in range(20)]
    with filled(server, folder, on_rows=counted.append) as filling:
        for ids in parts:
            filling.add(*rows_of(*ids))
        assert filling.finish() == 140
    assert server.rows == [one for ids in parts for one in ids]
    assert (server.finished, sum(counted)) == (140, 140)
    assert len(counted) == 3 * 10  # two looks on the way and one at the end, of ten files
    assert server.most_files <= AT_ONCE + 1
    assert not folder.here.exists()


def test_ids_that_come_more_than_once_are_made_unique(folder: ImportFolder) -> None:
    parts = [["a", "b"], ["b", "c"], ["d", "b"]]

    def batches() -> Iterator[list[str]]:
        return iter(parts)

    assert doubled_ids(batches) == {"b"}
    assert doubled_ids(lambda: iter([["a"], ["c"]])) == frozenset()
    server = Server()
    with filled(server, folder, doubled=doubled_ids(batches)) as filling:
        for ids in parts:
            filling.add(*rows_of(*ids))
        assert filling.finish() == 4
    assert server.rows == ["a", "b", "c", "d"]


def test_a_file_that_the_server_cannot_import_ends_it_with_the_servers_words(folder: ImportFolder) -> None:
    with filled(Server(failure="no such file"), folder) as filling:
        filling.add(*rows_of("a"))
        with pytest.raises(CollectionError, match="failed: no such file"):
            filling.finish()
    assert not folder.here.exists()


def test_an_import_that_does_not_go_on_is_not_waited_for_without_end(folder: ImportFolder) -> None:
    clock = iter(range(0, 10**9, 60))
    with filled(Server(slow=10**9), folder, clock=lambda: float(next(clock))) as filling:
        filling.add(*rows_of("a"))
        with pytest.raises(CollectionError, match="stands at 80 % for half an hour"):
            filling.finish()


def test_what_an_earlier_import_left_is_swept_away(folder: ImportFolder) -> None:
    folder.here.mkdir()
    (folder.here / "rows-00009.parquet").write_bytes(b"half")
    with filled(Server(), folder) as filling:
        assert list(folder.here.iterdir()) == []
        filling.add(*rows_of("a"))
        filling.finish()
