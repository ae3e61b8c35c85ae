from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.tasks.errors import LakeError
from millrace.tasks.lake.vectors.journal import JournalFile, JournalReader, read_journal
from millrace.tasks.lake.vectors.schema import Layout

DIMENSIONS = 4
LAYOUT = Layout(DIMENSIONS)
SCHEMA = LAYOUT.schema


def batch(number: int, rows: int = 2) -> pa.RecordBatch:
    keys = [bytes([number, row]) + bytes(30) for row in range(rows)]
    vectors = np.full((rows, DIMENSIONS), number, np.float32)
    return LAYOUT.batch(keys, vectors, [number] * rows)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[int]]:
    """A journal of three batches, and its length after each sync."""
    path = tmp_path_factory.mktemp("journal") / "journal"
    file = JournalFile(path, SCHEMA)
    lengths = []
    for number in range(1, 4):
        file.append(batch(number))
        file.sync()
        lengths.append(path.stat().st_size)
    file.close()
    return path.read_bytes(), lengths


def test_a_journal_is_an_arrow_stream_that_any_reader_reads(journal: tuple[bytes, list[int]]) -> None:
    table = pa.ipc.open_stream(journal[0]).read_all()
    assert table.column_names == ["text_key", "vector", "tokens"]
    assert table["tokens"].to_pylist() == [1, 1, 2, 2, 3, 3]


def test_a_journal_cut_at_any_byte_gives_every_batch_that_is_whole(
    journal: tuple[bytes, list[int]], tmp_path: Path
) -> None:
    data, lengths = journal
    path = tmp_path / "cut"
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        found = read_journal(path, SCHEMA)
        whole = [n for n in lengths if n <= length]
        assert found.batches == [batch(number + 1) for number in range(len(whole))], length
        assert found.dropped_batches == 0
        if length not in {0, *lengths} and length > lengths[0]:
            assert found.dropped_bytes == length - whole[-1]


def test_a_tail_of_the_right_length_and_no_content_is_dropped(journal: tuple[bytes, list[int]], tmp_path: Path) -> None:
    """After a power cut a file may have been given its length before its content."""
    data, lengths = journal
    path = tmp_path / "zeros"
    path.write_bytes(data[: lengths[1]] + bytes(len(data) - lengths[1]))
    assert read_journal(path, SCHEMA).batches == [batch(1), batch(2)]


@settings(max_examples=300)
@given(data=st.data())
def test_no_altered_byte_ever_passes_for_a_vector(
    data: st.DataObject, journal: tuple[bytes, list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole, _ = journal
    at = data.draw(st.integers(0, len(whole) - 1))
    value = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "altered"
    path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
    written = [batch(number) for number in range(1, 4)]
    found = read_journal(path, SCHEMA).batches
    assert all(any(one.equals(other) for other in written) for one in found)
    assert len(found) >= 2


def test_no_flipped_bit_takes_more_than_one_batch_with_it(journal: tuple[bytes, list[int]], tmp_path: Path) -> None:
    data, _ = journal
    path = tmp_path / "flipped"
    start = len(SCHEMA.serialize().to_pybytes())
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
        found = read_journal(path, SCHEMA)
        assert len(found.batches) >= (3 if at < start else 2), at
        assert found.rows == 6 or found.dropped_batches + found.dropped_bytes > 0, at
        reader = JournalReader(path, SCHEMA)
        assert [reader.read(one) for one in found.ranges] == found.batches


def test_a_journal_of_another_spelling_of_its_schema_is_read(tmp_path: Path) -> None:
    """As another version of Arrow may write it."""
    path = tmp_path / "other"
    file = JournalFile(path, SCHEMA.with_metadata({"written": "by another version"}))
    file.append(batch(1))
    file.sync()
    file.close()
    assert read_journal(path, SCHEMA).batches == [batch(1)]


def test_a_batch_that_was_altered_within_does_not_take_the_later_ones_with_it(
    journal: tuple[bytes, list[int]], tmp_path: Path
) -> None:
    data, lengths = journal
    vectors = np.full((2, DIMENSIONS), 2, np.float32).tobytes()
    at = data.index(vectors, lengths[0])
    path = tmp_path / "altered"
    path.write_bytes(data[:at] + bytes(8) + data[at + 8 :])
    found = read_journal(path, SCHEMA)
    assert found.batches == [batch(1), batch(3)]
    assert found.dropped_batches == 1


def test_each_batch_is_read_where_writing_and_recovery_say_that_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    file = JournalFile(path, SCHEMA)
    written = [file.append(batch(1)), file.append(batch(2, rows=7))]
    file.sync()
    written.append(file.append(batch(3)))
    file.sync()
    file.close()
    found = read_journal(path, SCHEMA)
    assert found.ranges == written
    reader = JournalReader(path, SCHEMA)
    path.unlink()  # as when it has become a part
    assert [reader.read(place) for place in written] == found.batches == [batch(1), batch(2, rows=7), batch(3)]


def test_a_journal_of_other_vectors_is_refused_by_name(journal: tuple[bytes, list[int]], tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(journal[0])
    with pytest.raises(LakeError, match="not vectors of this space"):
        read_journal(path, Layout(8).schema)
