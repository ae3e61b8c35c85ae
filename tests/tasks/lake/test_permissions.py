"""Lake files hold texts, so nobody but their owner reads them; and rights that lack are never taken for damage."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.tasks.errors import LakeUnreachable
from millrace.tasks.lake import Lake, RunRecord
from millrace.tasks.lake.lake import Audience
from millrace.tasks.records import CHUNK_SCHEMA, MANIFEST_SCHEMA, Reject, reject_table
from tests.tasks.lake.numbered import Texts


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def fill(path: Path, texts: Texts, readable_by: Audience = "owner") -> None:
    """A lake with one of everything that holds texts."""
    with Lake.open(path, "docs", readable_by=readable_by) as lake:
        row = {field.name: "x" if pa.types.is_string(field.type) else 1 for field in MANIFEST_SCHEMA}
        lake.chunks.write(1, 0, CHUNK_SCHEMA.empty_table())
        lake.manifest.commit(pa.Table.from_pylist([row], schema=MANIFEST_SCHEMA), "one")
        lake.rejects.replace(["x"], reject_table([Reject("read", "x", "", "empty", "m", "r")]), run="r", name="one")
        lake.runs.save(RunRecord("r", "ingest", "now"))
        lake.reports.save("r", "<html>")
        lake.next_job()
        store = lake.vectors(texts.space)
        texts.fill(store, range(10))  # a journal
        assert list((lake.vectors_dir / texts.space.name).glob("journal-*"))
        check_modes(path, readable_by)
        store.close()


def check_modes(path: Path, readable_by: Audience) -> None:
    folder_mode = {"owner": 0o700, "group": 0o750, "everyone": 0o755}[readable_by]
    assert stat.S_IMODE(path.stat().st_mode) == folder_mode
    for below in (path / "docs").rglob("*"):
        expected = folder_mode if below.is_dir() else folder_mode & 0o666
        assert stat.S_IMODE(below.stat().st_mode) == expected, below
    for journal in path.rglob("journal-*"):
        assert stat.S_IMODE(journal.stat().st_mode) == folder_mode & 0o666


@pytest.mark.parametrize("readable_by", ["owner", "group", "everyone"])
def test_what_is_written_is_for_its_owner_unless_a_setting_opens_it(
    readable_by: Audience, tmp_path: Path, texts: Texts
) -> None:
    fill(tmp_path / "lake", texts, readable_by)
    check_modes(tmp_path / "lake", readable_by)


def test_a_new_collection_in_a_folder_that_others_may_read_is_for_its_owner(tmp_path: Path, texts: Texts) -> None:
    lake = tmp_path / "volume"
    lake.mkdir(mode=0o755)
    with Lake.open(lake, "docs") as opened:
        opened.runs.save(RunRecord("r", "ingest", "now"))
    assert stat.S_IMODE(lake.stat().st_mode) == 0o755
    assert stat.S_IMODE((lake / "docs").stat().st_mode) == 0o700
    assert stat.S_IMODE((lake / "docs" / "runs" / "r.json").stat().st_mode) == 0o600


def test_a_collection_that_was_opened_by_hand_stays_open(tmp_path: Path, texts: Texts) -> None:
    fill(tmp_path, texts, "owner")
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    with Lake.open(tmp_path, "docs") as lake:
        lake.runs.save(RunRecord("s", "ingest", "now"))
    assert stat.S_IMODE((tmp_path / "docs" / "runs" / "s.json").stat().st_mode) == 0o644


def refusing(name: str, real: Callable[..., object]) -> Callable[..., object]:
    """`real`, for which this process lacks the right to read files whose names begin so; root has every right."""

    def refuse(source: object, *arguments: object, **more: object) -> object:
        if isinstance(source, Path) and source.name.startswith(name):
            raise PermissionError(13, "Permission denied", str(source))
        return real(source, *arguments, **more)

    return refuse


@pytest.mark.parametrize("name", ["manifest.parquet", "rejects.parquet", "part-"])
def test_a_file_that_may_not_be_read_is_not_taken_for_damaged(
    name: str, tmp_path: Path, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, texts)
    with Lake.open(tmp_path, "docs") as lake:
        lake.manifest.fold()
        lake.rejects.fold()
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(pq, "ParquetFile", refusing(name, pq.ParquetFile))
    with Lake.open(tmp_path, "docs") as lake:
        checks: list[Callable[[], object]] = {
            "manifest.parquet": [lake.manifest.read, lake.manifest.check, lake.manifest.quarantine],
            "rejects.parquet": [lake.rejects.outstanding, lake.rejects.check, lake.rejects.quarantine],
            "part-": [lambda: lake.chunks.problem(lake.chunks.all()[0]), lambda: repaired(lake, texts)],
        }[name]
        for check in checks:
            with pytest.raises(LakeUnreachable, match=r"Permission denied\. Give this user the rights to read"):
                check()
    assert sorted(tmp_path.rglob("*")) == before


def repaired(lake: Lake, texts: Texts) -> None:
    with lake.vectors(texts.space) as store:
        store.repair()


@pytest.mark.parametrize("name", ["jobs.json", "limits.json", "r.json"])
def test_a_small_file_that_may_not_be_read_is_named_with_that_reason(
    name: str, tmp_path: Path, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, texts)
    (tmp_path / "limits.json").write_text("{}")
    monkeypatch.setattr(Path, "read_bytes", refusing(name, Path.read_bytes))
    with Lake.open(tmp_path, "docs", read_only=True) as lake:
        (message,) = [damage.message for damage in lake.damaged_records()]
    assert "Permission denied" in message
    assert "is damaged" not in message
