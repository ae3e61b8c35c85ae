"""The manifest and the rejects: a base and deltas, against a dictionary that does the same."""

import contextlib
import random
from pathlib import Path

import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.tasks.errors import LakeError
from millrace.tasks.lake import Manifest, Rejects
from millrace.tasks.records import MANIFEST_SCHEMA, REJECT_SCHEMA, Reject, reject_table


def row(source: str, *, job: int = 1, status: str = "live") -> dict[str, object]:
    blank: dict[str, object] = {field.name: "" if pa.types.is_string(field.type) else 0 for field in MANIFEST_SCHEMA}
    return blank | {"source": source, "path": source, "job": job, "status": status}


def delta(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=MANIFEST_SCHEMA)


def reject(source: str, item: str = "", reason: str = "encrypted") -> Reject:
    return Reject("read", source, item, reason, "it cannot be read", "read it")


def sources(manifest: Manifest) -> dict[str, int]:
    return {r["source"]: r["job"] for r in manifest.read().to_pylist()}


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


SOURCES = st.sampled_from("abcdef")
COMMITS = st.lists(
    st.one_of(st.dictionaries(SOURCES, st.sampled_from(["live", "rejected", "removed"]), min_size=1), st.just("fold")),
    max_size=12,
)


@settings(max_examples=60)
@given(commits=COMMITS)
def test_the_manifest_is_what_was_committed_last_for_each_source(
    commits: list[dict[str, str] | str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    manifest = Manifest(tmp_path_factory.mktemp("manifest"))
    expected: dict[str, int] = {}
    for job, commit in enumerate(commits):
        if isinstance(commit, str):
            manifest.fold()
            continue
        manifest.commit(delta(*(row(s, job=job, status=status) for s, status in commit.items())), f"job-{job}")
        expected |= dict.fromkeys(commit, job)
        for source in [s for s, status in commit.items() if status == "removed"]:
            del expected[source]
    assert sources(manifest) == expected
    assert manifest.read(["job", "source"]) == manifest.read().select(["job", "source"])


def test_a_fold_leaves_one_file_and_a_fold_of_nothing_writes_nothing(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.commit(delta(row("a"), row("b")), "one")
    manifest.commit(delta(row("b", status="removed")), "two")
    manifest.fold()
    base = tmp_path / "manifest.parquet"
    assert files(tmp_path) == {base}
    written_ns = base.stat().st_mtime_ns
    manifest.fold()
    assert base.stat().st_mtime_ns == written_ns
    assert sources(manifest) == {"a": 1}


def test_a_change_is_written_in_proportion_to_itself_and_read_in_order(tmp_path: Path) -> None:
    """A run that changes three documents writes as much whatever the manifest holds, until a fold is worth it."""
    written = {}
    for count in (2_000, 20_000):
        folder = tmp_path / str(count)
        manifest = Manifest(folder)
        manifest.commit(delta(*(row(f"{n:05d}", status="live") for n in range(0, 2 * count, 2))), "all")
        manifest.fold()
        before = files(folder)
        changed = [row("00010", job=2), row("00012", job=2, status="removed"), row("00013", job=2)]
        manifest.commit(delta(*changed), "run")
        manifest.fold()
        written[count] = sum(path.stat().st_size for path in files(folder) - before)
        assert manifest.read(["source"])["source"].to_pylist() == sorted(manifest.read()["source"].to_pylist())
        now = sources(manifest)
        assert (len(now), now["00010"], now["00013"], "00012" in now) == (count, 2, 2, False)
    assert written[2_000] == written[20_000] < 10_000
    for job in range(3, 66):
        manifest.commit(delta(row("00010", job=job)), "run")
    manifest.fold()
    assert files(folder) == {folder / "manifest.parquet"}
    assert sources(manifest) == now | {"00010": 65}


def test_the_files_of_the_manifest_are_read_by_pandas(tmp_path: Path) -> None:
    """As docs/design/lake.md says it."""
    manifest = Manifest(tmp_path)
    manifest.commit(delta(*(row(f"{n}") for n in range(100))), "all")
    manifest.fold()
    manifest.commit(delta(row("7", status="removed"), row("8", job=2), row("new", job=2)), "run")
    manifest.fold()
    paths = [tmp_path / "manifest.parquet", *sorted((tmp_path / "manifest.d").glob("*.parquet"))]
    rows = pd.concat(map(pd.read_parquet, paths)).drop_duplicates("source", keep="last")
    live = rows[rows["status"] != "removed"]
    assert len(paths) == 2
    assert dict(zip(live["source"], live["job"], strict=True)) == sources(manifest)


class Killed(Exception):
    pass


@pytest.mark.parametrize("step", ["written", "renamed", "delta deleted", ""])
def test_a_manifest_of_an_earlier_version_is_sorted_by_the_next_fold_wherever_that_is_cut_short(
    step: str, tmp_path: Path
) -> None:
    base = delta(row("c"), row("b"), row("a"), row("d")).drop_columns(["inode", "ctime_ns"])
    pq.write_table(base.replace_schema_metadata({b"millrace.folded": b"1"}), tmp_path / "manifest.parquet")
    for number, changes in enumerate(([row("a", status="removed")], [row("b", job=2)], [row("b", job=3)]), start=1):
        (tmp_path / "manifest.d").mkdir(exist_ok=True)
        pq.write_table(delta(*changes), tmp_path / "manifest.d" / f"{number:08d}-x.parquet")
    expected = {"a": 1, "b": 3, "c": 1, "d": 1}  # the first delta is in the base

    def checkpoint(reached: str) -> None:
        if reached == step:
            raise Killed

    assert sources(Manifest(tmp_path)) == expected
    with pytest.raises(Killed) if step else contextlib.nullcontext():
        Manifest(tmp_path, checkpoint=checkpoint).fold()
    assert sources(Manifest(tmp_path)) == expected
    Manifest(tmp_path).fold()
    assert files(tmp_path) == {tmp_path / "manifest.parquet"}
    assert pq.read_table(tmp_path / "manifest.parquet")["source"].to_pylist() == sorted(expected)
    assert pq.read_metadata(tmp_path / "manifest.parquet").row_group(0).sorting_columns


def test_a_manifest_of_an_earlier_version_that_lost_all_its_documents_is_gone_on_with(tmp_path: Path) -> None:
    pq.write_table(delta(row("a")).slice(0, 0), tmp_path / "manifest.parquet")
    manifest = Manifest(tmp_path)
    assert sources(manifest) == {}
    manifest.commit(delta(row("b")), "run")
    manifest.fold()
    assert sources(Manifest(tmp_path)) == {"b": 1}
    manifest.commit(delta(row("b", status="removed")), "run")
    manifest.fold()
    assert sources(Manifest(tmp_path)) == {}


def test_no_flipped_bit_of_a_manifest_forgets_or_changes_a_document_in_silence(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.commit(delta(*(row(f"{n:03d}") for n in range(100))), "all")
    manifest.fold()
    manifest.commit(delta(row("007", status="removed"), row("008", job=2)), "run")
    columns = [name for name in MANIFEST_SCHEMA.names if not MANIFEST_SCHEMA.field(name).nullable]  # null is unknown
    whole, chance = manifest.read(columns), random.Random(17)
    for path in files(tmp_path):
        sound = path.read_bytes()
        for _ in range(150):
            flipped = bytearray(sound)
            flipped[chance.randrange(len(sound))] ^= 1 << chance.randrange(8)
            path.write_bytes(flipped)
            with contextlib.suppress(LakeError):
                assert Manifest(tmp_path).read().select(columns) == whole
        path.write_bytes(sound)


def test_deltas_that_were_folded_and_not_deleted_change_nothing(tmp_path: Path) -> None:
    """Whatever order a crash leaves them in: the tombstone alone may be gone."""
    manifest = Manifest(tmp_path)
    manifest.commit(delta(row("a")), "one")
    first = next((tmp_path / "manifest.d").iterdir())
    retained = first.read_bytes()
    manifest.commit(delta(row("a", status="removed"), row("b")), "two")
    manifest.fold()
    first.write_bytes(retained)
    assert sources(manifest) == {"b": 1}
    manifest.commit(delta(row("c")), "three")
    assert sources(manifest) == {"b": 1, "c": 1}


def test_a_manifest_delta_names_each_source_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names a source twice"):
        Manifest(tmp_path).commit(delta(row("a"), row("a")), "one")


def test_deltas_do_not_pile_up_in_a_long_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.tasks.lake.collection.delta_table._MANY_DELTAS", 5)
    manifest = Manifest(tmp_path)
    for job in range(12):
        manifest.commit(delta(row(f"s{job}", job=job)), "x")
    assert len(list((tmp_path / "manifest.d").iterdir())) == 2
    assert sources(manifest) == {f"s{job}": job for job in range(12)}


@pytest.mark.parametrize("damage", [b"", b"PAR1 and nothing else"])
def test_a_damaged_manifest_is_named_with_what_to_do(damage: bytes, tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    manifest.commit(delta(row("a")), "one")
    manifest.fold()
    (tmp_path / "manifest.parquet").write_bytes(damage)
    with pytest.raises(LakeError, match=r"manifest\.parquet is damaged .* buys no vector twice"):
        manifest.read()


def test_rejects_of_a_document_are_replaced_when_it_is_processed_again(tmp_path: Path) -> None:
    rejects = Rejects(tmp_path)
    pages = [reject("a.pdf", f"page {n}") for n in (1, 2, 3)]
    rejects.replace(["a.pdf", "b.pdf", "c.md"], reject_table([*pages, reject("b.pdf")]), run="r1", name="job-1")
    rejects.replace(["a.pdf"], reject_table([reject("a.pdf", "page 2")]), run="r2", name="job-2")
    expected = [("a.pdf", "page 2", "r2"), ("b.pdf", "", "r1")]
    for _ in range(2):
        assert [(r["source"], r["item"], r["run"]) for r in rejects.outstanding().to_pylist()] == expected
        rejects.fold()
    Rejects(tmp_path).replace(["a.pdf", "b.pdf"], REJECT_SCHEMA.empty_table(), run="r3", name="job-3")
    assert Rejects(tmp_path).outstanding().num_rows == 0


def test_documents_without_rejects_write_nothing(tmp_path: Path) -> None:
    rejects = Rejects(tmp_path)
    rejects.replace([f"{n}.md" for n in range(1_000)], REJECT_SCHEMA.empty_table(), run="r1", name="job-1")
    assert list(tmp_path.iterdir()) == []


def test_a_reject_of_a_document_that_was_not_processed_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"b\.md"):
        Rejects(tmp_path).replace(["a.md"], reject_table([reject("b.md")]), run="r1", name="job-1")
