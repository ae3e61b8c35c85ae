"""`verify` finds every row and file that does not agree, and `--repair` heals it from the lake."""

import dataclasses
import json
import os
import random
import shutil
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from millrace.flows.commands.plan import make_plan
from millrace.flows.commands.verify.repair import repair
from millrace.flows.commands.verify.report import Kind, VerifyResult
from millrace.flows.commands.verify.verify import verify
from millrace.tasks.milvus import Collection, MilvusAddress
from millrace.tasks.records import metadata_json
from tests.flows.prose import chinese, english
from tests.flows.site import Row, Site, json_of


def fill(site: Site, documents: int = 12, sentences: int = 60) -> dict[str, Row]:
    """Ingest some documents of each kind; the rows."""
    for number in range(documents):
        site.write(f"{number}.md", f"# Number {number}\n\n" + english(sentences, seed=number))
        site.write(f"z/{number}.txt", chinese(sentences, seed=number))
    records = [
        {"id": n, "text": english(3, seed=100 + n), "weight": n / 7, "kept": n % 2 == 0} for n in range(documents)
    ]
    site.write("log.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    site.overrides = ("documents.metadata_columns=weight,kept",)
    assert site.ingest().exit_code == 0
    return site.rows()


def opened(site: Site) -> Collection:
    settings = site.settings()
    return Collection.open(MilvusAddress(settings.milvus.uri), settings.milvus.collection, create=False)


def put(collection: Collection, rows: Iterable[Row]) -> None:
    """Write rows straight into the collection, as some other program may."""
    rows = list(rows)
    table = pa.table(
        {
            "id": [row.id for row in rows],
            "content": [row.content for row in rows],
            "metadata": [metadata_json(row.metadata) for row in rows],
        }
    )
    collection.upsert(table, np.stack([row.vector for row in rows]))


def found(report: VerifyResult, kind: Kind) -> set[str]:
    return {finding.item for finding in report.findings if finding.kind == kind}


def assert_same(rows: dict[str, Row], expected: dict[str, Row]) -> None:
    assert rows.keys() == expected.keys()
    assert all(rows[row_id].same_as(expected[row_id]) for row_id in rows)


def changed(row: Row, **fields: object) -> Row:
    return dataclasses.replace(row, **fields)  # type: ignore[arg-type]


def test_every_damaged_row_is_found_and_healed_and_nothing_is_bought(site: Site) -> None:
    before = fill(site)
    assert verify(site.settings(), [site.corpus], as_json=True).agree
    books = site.simulator.books
    sent = books.requests

    ids = random.Random(7).sample(sorted(before), 12)
    gone, altered, output, moved = (ids[i : i + 3] for i in range(0, 12, 3))
    nudge = np.zeros(1024, np.float32)
    nudge[1000] = 1e-5
    foreign = [Row(f"{n:064x}", "not ours", {"source": "elsewhere"}, before[ids[0]].vector) for n in range(2)]
    # Copies of live rows: under an id that differs in its last digit, and under one that is no id of ours at all.
    foreign += [changed(before[ids[5]], id=ids[5][:-1] + "0123456789abcdef"[int(ids[5][-1], 16) - 1])]
    foreign += [changed(before[ids[6]], id='row "6"\n\\')]
    with opened(site) as collection:
        collection.delete(gone)
        put(collection, [changed(before[i], content=before[i].content + " ") for i in altered])
        put(collection, [changed(before[i], metadata={**before[i].metadata, "token_count": 1}) for i in output])
        put(collection, [changed(before[i], vector=before[i].vector + nudge) for i in moved])
        put(collection, foreign)

    report = verify(site.settings(), [site.corpus], as_json=True)
    assert report.exit_code == 1
    assert found(report, "missing_row") == set(gone)
    assert found(report, "altered_content") == set(altered)
    assert found(report, "altered_metadata") == set(output)
    assert found(report, "altered_vector") == set(moved)
    assert found(report, "unowned_row") == {row.id for row in foreign}
    assert report.counts.total() == 16

    repaired = repair(site.settings(), [site.corpus], as_json=True)
    assert repaired.exit_code == 0
    assert repaired.repaired is not None
    assert repaired.repaired.rows_upserted == {"missing": 3, "content": 3, "metadata": 3, "vector": 3}
    assert repaired.repaired.rows_deleted == 4
    assert_same(site.rows(), before)
    assert books.requests == sent


def test_changes_of_the_sources_are_found_and_left_to_ingest(site: Site) -> None:
    before = fill(site, documents=6, sentences=6)
    (site.corpus / "0.md").unlink()
    site.write("1.md", "# Another\n\n" + english(6, seed=77))
    os.utime(site.corpus / "2.md", ns=(1, 1))
    site.write("new.txt", english(3, seed=78))
    report = repair(site.settings(), [site.corpus], as_json=True)
    assert report.exit_code == 1
    assert report.counts == {"gone_file": 1, "changed_file": 1, "new_file": 1}
    assert found(report, "changed_file") == {str(site.corpus / "1.md")}
    assert_same(site.rows(), before)
    alone = verify(site.settings(), [], as_json=True)
    assert alone.counts == {"gone_file": 1, "changed_file": 1}
    assert verify(site.settings(), [site.corpus / "z"], as_json=True).agree
    other = verify(site.settings("chunking.max_tokens=100"), [site.corpus / "z"], as_json=True)
    assert other.counts == {"other_settings": 6}
    site.ingest()
    assert verify(site.settings(), [site.corpus], as_json=True).agree


def test_a_collection_full_of_strangers_is_not_emptied_unless_that_is_allowed(site: Site) -> None:
    before = fill(site, documents=6, sentences=6)
    orphans = [changed(row, id=f"{number:064x}") for number, row in enumerate(before.values())]
    with opened(site) as collection:
        put(collection, orphans)
        collection.delete(list(before)[:2])
    report = repair(site.settings(), [], as_json=True)
    assert report.counts == {"unowned_row": len(orphans)}
    assert report.repaired is not None
    assert "sources.max_removed_share=1" in report.repaired.notes[0]
    assert len(site.rows()) == 2 * len(before)
    assert repair(site.settings("sources.max_removed_share=1"), [], as_json=True).agree
    assert_same(site.rows(), before)


def test_the_command_tells_people_and_scripts_and_exits_by_it(site: Site) -> None:
    before = fill(site, documents=3, sentences=6)
    with opened(site) as collection:
        collection.delete(list(before)[:7])
    lost = site.run("verify", str(site.corpus))
    assert lost.returncode == 1, lost.stderr
    assert "7  rows that are not in the collection" in lost.stdout
    assert "and 2 more; --json lists all" in lost.stdout
    done = site.run("verify", "--json")
    assert done.returncode == 1, done.stderr
    assert done.stdout, done.stderr
    output = json_of(done)
    assert (output["agree"], output["counts"], len(output["findings"])) == (False, {"missing_row": 7}, 7)
    healed = site.run("verify", "--repair", DASHSCOPE_API_KEY="")
    assert healed.returncode == 0, healed.stderr
    assert "upserted   7 rows: 7 missing" in healed.stdout
    assert healed.stdout.endswith("all agree\n")


def test_a_collection_that_is_gone_is_named_and_nothing_is_made_in_its_place(site: Site) -> None:
    before = fill(site, documents=3, sentences=6)
    path = site.folder / "milvus.db"
    shutil.rmtree(path)
    report = verify(site.settings(), [], as_json=True)
    assert report.counts == {"missing_collection": 1}
    assert not path.exists()
    assert repair(site.settings(), [], as_json=True).agree
    assert_same(site.rows(), before)


def test_files_that_no_run_reads_are_counted_by_suffix_in_plan_and_verify(site: Site) -> None:
    site.write("a.txt", english(5))
    site.write("b.dwg", b"\x00")
    site.write("c.DWG", b"\x00")
    planned = make_plan(site.settings(), [site.corpus])
    assert (planned.left_out.unsupported, planned.documents.seen) == ({".dwg": 2}, 1)
    assert any("2 .dwg" in line for line in planned.lines())
    site.ingest()
    looked = verify(site.settings(), [site.corpus], as_json=True)
    assert looked.agree
    assert any("2 .dwg" in line for line in looked.lines())
    assert looked.as_json()["left_out"] == planned.as_json()["left_out"]
