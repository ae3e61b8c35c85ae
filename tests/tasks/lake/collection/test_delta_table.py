"""The manifest and the rejects: a base and deltas, against a dictionary that does the same."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.tasks.errors import LakeError
from millrace.tasks.lake import Manifest, Rejects
from millrace.tasks.records import MANIFEST_SCHEMA, REJECT_SCHEMA, Reject, reject_table


def row(source: str, *, job: int = 1, status: str = "live") -> dict[str, object]:
    blank: dict[str, object] = {field.name: "" if pa.types.is_string(field.type) else 0 for field in MANIFEST_SCHEMA}
    return blank | {"source": source, "job": job, "status": status}


def delta(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=MANIFEST_SCHEMA)


def reject(source: str, item: str = "", reason: str = "encrypted") -> Reject:
    return Reject("read", source, item, reason, "it cannot be read", "read it")


def sources(manifest: Manifest) -> dict[str, int]:
    return {r["source"]: r["job"] for r in manifest.read().to_pylist()}


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
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [base]
    written_ns = base.stat().st_mtime_ns
    manifest.fold()
    assert base.stat().st_mtime_ns == written_ns
    assert sources(manifest) == {"a": 1}


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
    monkeypatch.setattr("millrace.tasks.lake.collection.delta_table._FOLD_AFTER", 5)
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
    expected = [("b.pdf", "", "r1"), ("a.pdf", "page 2", "r2")]
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
