"""What a server may hold and Milvus Lite may not: several rows with one id. Played by a fake that counts like one."""

from collections import Counter
from collections.abc import Iterator, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.tasks.milvus import StoredRow
from millrace.tasks.reconcile.compare import IdInventory


class ServerRows:
    """Lists each id once, and counts every row, as a Milvus server does."""

    def __init__(self, rows: Counter[str]) -> None:
        self.rows = rows
        self.counted = 0

    def ids(self) -> Iterator[list[str]]:
        ids = sorted(self.rows)
        for start in range(0, len(ids), 100):
            yield ids[start : start + 100]

    def count(self, ids: Sequence[str] | None = None) -> int:
        self.counted += 1
        return self.rows.total() if ids is None else sum(self.rows[row_id] for row_id in ids)

    def fetch(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[StoredRow]:
        return [StoredRow(row_id, "", {"source": f"of {row_id}"}) for row_id in ids if row_id in self.rows]


def inventory(rows: Counter[str]) -> IdInventory:
    return IdInventory(ServerRows(rows))  # type: ignore[arg-type] # the part of a Collection that a census needs


@settings(max_examples=50)
@given(st.dictionaries(st.integers(0, 400), st.integers(1, 3)), st.sets(st.integers(0, 400)))
def test_a_census_tells_doubled_rows_and_strangers(rows: dict[int, int], owned: set[int]) -> None:
    taken = inventory(Counter({f"{number:064x}": count for number, count in rows.items()}))
    assert taken.doubled() == {f"{number:064x}" for number, count in rows.items() if count > 1}
    taken.own([f"{number:064x}" for number in sorted(owned)])
    orphans = [orphan for batch in taken.orphans() for orphan in batch]
    assert {orphan.id for orphan in orphans} == {f"{number:064x}" for number in rows.keys() - owned}
    assert all(orphan.source == f"of {orphan.id}" for orphan in orphans)
    assert taken.count_orphans() == len(orphans)


def test_a_doubled_row_among_many_is_found_with_few_questions() -> None:
    rows = ServerRows(Counter({f"{number:064x}": 1 for number in range(10_000)}))
    rows.rows[f"{4711:064x}"] = 2
    assert IdInventory(rows).doubled() == {f"{4711:064x}"}  # type: ignore[arg-type]
    assert rows.counted < 150
