"""`milvus.hybrid = sparse`, all the way: bought with the dense vectors, kept in the lake, beside them in the collection."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest

from millrace.flows.commands.rebuild import rebuild
from millrace.flows.commands.verify.repair import repair
from millrace.flows.commands.verify.verify import verify
from millrace.flows.wiring.components import load_model
from millrace.flows.wiring.milvus import open_collection
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.lake import Lake
from millrace.tasks.milvus import StoredRow
from millrace.tasks.records import metadata_json, sparse_bytes
from tests.flows.prose import chinese, english
from tests.flows.site import Site
from tests.simulator.model.sparse import expected_sparse
from tests.simulator.model.vectors import expected_vector
from tests.system.crashes.processes import started, until

MODEL = "text-embedding-v4"


@pytest.fixture
def hybrid(site: Site) -> Site:
    """Some documents, DashScope's native API, and a collection with sparse vectors."""
    site.overrides = (
        "embedding.api=native",
        f"embedding.base_url={site.simulator.native_url}",
        "milvus.hybrid=sparse",
        "embedding.dimensions=64",
        "chunking.max_tokens=100",
    )
    for number in range(5):
        site.write(f"{number}.md", f"# Number {number}\n\n" + english(40, seed=number))
        site.write(f"z/{number}.txt", chinese(40, seed=number))
    site.write("order.txt", "The part SKU-7731-XB is out of stock.")
    return site


def stored(site: Site, *more: str) -> dict[str, StoredRow]:
    """Every row of the collection with its vectors, by id."""
    settings = site.settings(*more)
    with open_collection(settings, load_model(settings), create=False) as collection:
        return {row.id: row for ids in collection.ids() for row in collection.fetch(ids, with_vectors=True)}


def assert_right(rows: dict[str, StoredRow]) -> None:
    assert rows
    for row in rows.values():
        assert row.sparse == expected_sparse(MODEL, row.content), row.content
        assert row.vector is not None
        assert np.allclose(row.vector, expected_vector(MODEL, 64, row.content, text_type="document"), atol=1e-6)


def sparse_of(rows: dict[str, StoredRow]) -> dict[str, bytes | None]:
    return {row_id: row.sparse for row_id, row in rows.items()}


def test_every_row_carries_the_sparse_vector_of_its_own_text(hybrid: Site) -> None:
    report = hybrid.ingest()
    assert report.exit_code == 0
    rows = stored(hybrid)
    assert len(rows) == report.chunks.total
    assert_right(rows)
    sent = hybrid.simulator.books.requests
    hybrid.write("0.md", (hybrid.corpus / "0.md").read_text() + "\n\nOne more sentence, with a word of its own: zyx.")
    again = hybrid.ingest()
    assert 0 < again.chunks.embedded <= 3
    assert hybrid.simulator.books.requests == sent + 1
    assert_right(stored(hybrid))
    assert hybrid.ingest().requests.sent == 0
    assert verify(hybrid.settings(), [hybrid.corpus], as_json=True).agree


def test_a_killed_run_buys_no_text_twice_but_those_that_were_in_flight(hybrid: Site) -> None:
    hybrid.overrides += ("limits.max_in_flight=1",)
    for number in range(5, 15):  # so many that no run comes to its end before it is killed
        hybrid.write(f"{number}.md", f"# Number {number}\n\n" + english(40, seed=number))
    hybrid.simulator.change({"latency": {"fixed_s": 0.3}})
    books = hybrid.simulator.books
    for _ in range(2):
        wanted = books.answered + 3
        with started(hybrid) as process:
            until(lambda wanted=wanted: books.answered >= wanted, "nothing is answered")  # type: ignore[misc]
            process.kill()
    hybrid.simulator.change({"latency": {"fixed_s": 0}})
    done = hybrid.run("ingest", str(hybrid.corpus), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["chunks"]["reused"] >= 10 * (3 + 3 - 2)
    assert books.texts_bought_again <= 2 * 10
    assert_right(stored(hybrid))
    assert verify(hybrid.settings(), [hybrid.corpus], as_json=True).agree
    assert hybrid.ingest().requests.sent == 0


def test_a_rebuild_brings_the_same_sparse_vectors_back_without_one_request(hybrid: Site) -> None:
    hybrid.ingest()
    before = sparse_of(stored(hybrid))
    sent = hybrid.simulator.books.requests
    elsewhere = f"milvus.uri={hybrid.folder / 'other.db'}"
    assert rebuild(hybrid.settings(elsewhere), into="copy", drop=False, quiet=True).exit_code == 0
    assert sparse_of(stored(hybrid, elsewhere, "milvus.collection=copy")) == before
    shutil.rmtree(hybrid.folder / "milvus.db")
    assert rebuild(hybrid.settings(), into="", drop=False, quiet=True).upserted == len(before)
    assert rebuild(hybrid.settings(), into="", drop=True, quiet=True).upserted == len(before)
    assert sparse_of(stored(hybrid)) == before
    assert hybrid.simulator.books.requests == sent


def put(site: Site, rows: list[StoredRow]) -> None:
    """Write rows straight into the collection, as some other program may."""
    table = pa.table(
        {
            "id": [row.id for row in rows],
            "content": [row.content for row in rows],
            "metadata": [metadata_json(row.metadata or {}) for row in rows],
            "sparse": pa.array([row.sparse for row in rows], pa.binary()),
        }
    )
    settings = site.settings()
    with open_collection(settings, load_model(settings), create=False) as collection:
        collection.upsert(table, np.stack([row.vector for row in rows if row.vector is not None]))


def altered(row: StoredRow, sparse: bytes) -> StoredRow:
    return StoredRow(row.id, row.content, row.metadata, row.vector, sparse)


def test_other_sparse_vectors_are_found_and_healed_from_the_lake(hybrid: Site) -> None:
    hybrid.ingest()
    before = stored(hybrid)
    sent = hybrid.simulator.books.requests
    rows = [row for _, row in sorted(before.items()) if row.sparse]
    nudged = np.frombuffer(rows[1].sparse or b"", "<u4,<f4").copy()
    nudged["f1"][0] = np.nextafter(nudged["f1"][0], 2, dtype=np.float32)
    put(hybrid, [altered(rows[0], b""), altered(rows[1], nudged.tobytes()), altered(rows[2], sparse_bytes([3], [1.0]))])
    report = verify(hybrid.settings(), [], as_json=True)
    assert report.counts == {"altered_sparse": 3}
    assert {finding.item for finding in report.findings} == {row.id for row in rows[:3]}
    assert "3  rows with another sparse vector than the lake's" in "\n".join(report.lines())
    repaired = repair(hybrid.settings(), [], as_json=True)
    assert repaired.agree
    assert repaired.repaired is not None
    assert repaired.repaired.rows_upserted == {"sparse": 3}
    assert sparse_of(stored(hybrid)) == sparse_of(before)
    assert hybrid.simulator.books.requests == sent


def test_sparse_vectors_that_the_lake_lost_are_bought_again_and_nothing_besides(hybrid: Site) -> None:
    hybrid.ingest()
    before = stored(hybrid)
    (part,) = hybrid.lake.glob("vectors/*/part-*.parquet")
    data = bytearray(part.read_bytes())
    at = data.index(expected_sparse(MODEL, "The part SKU-7731-XB is out of stock."))
    data[at] ^= 1
    part.write_bytes(data)
    lost = verify(hybrid.settings(), [], as_json=True)
    assert lost.counts.keys() == {"damaged_file", "lacking_vector"}
    repaired = repair(hybrid.settings(), [], as_json=True)
    assert repaired.agree
    assert repaired.repaired is not None
    assert repaired.repaired.texts_embedded == 8 < lost.counts["lacking_vector"]  # a checksum covers eight rows
    assert sparse_of(stored(hybrid)) == sparse_of(before)


def test_a_document_that_can_no_longer_be_read_keeps_both_vectors_of_its_rows(hybrid: Site) -> None:
    hybrid.ingest()
    before = stored(hybrid)
    (hybrid.corpus / "0.md").write_bytes(b"")
    assert hybrid.ingest("sources.max_removed_share=1").exit_code == 3
    assert sparse_of(stored(hybrid)) == sparse_of(before)


def test_a_collection_without_sparse_vectors_is_not_taken_for_one_that_has_them(hybrid: Site) -> None:
    dense = "milvus.hybrid=none"
    hybrid.ingest(dense)
    with pytest.raises(ConfigurationError, match=r"which has no sparse vectors.*milvus\.hybrid"):
        rebuild(hybrid.settings(), into="", drop=True, quiet=True)
    assert verify(hybrid.settings(dense), [hybrid.corpus], as_json=True).agree
    # Into a collection of its own everything goes in anew: what a text's vectors are bought as is another thing.
    assert hybrid.ingest("milvus.collection=hybrid").exit_code == 0
    assert_right(stored(hybrid, "milvus.collection=hybrid"))


def test_the_lake_says_in_words_what_a_hybrid_space_is_of(hybrid: Site) -> None:
    hybrid.ingest()
    with Lake.open(hybrid.lake, "documents", read_only=True) as lake:
        (name,) = set(lake.manifest.read()["space"].to_pylist())
        space = lake.space_named(name)
        assert space == load_model(hybrid.settings()).space
        assert (space.model, space.dimensions, space.text_type, space.sparse) == (MODEL, 64, "document", True)
