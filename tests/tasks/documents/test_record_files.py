"""Record files: one document a row, and one bad row costs itself alone."""

import datetime as dt
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace.tasks.documents import DocumentOptions, read_documents
from millrace.tasks.documents.record_files import ROWS_PER_UNIT
from millrace.tasks.records import Document, Reject
from tests.tasks.documents.conftest import Read, source_file


def lines(*rows: object) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def outcomes(found: list[Document | Reject]) -> list[str]:
    """Each outcome in a few words: a document's source, or a reject's item and reason."""
    return [f"{f.item}: {f.reason}" if isinstance(f, Reject) else f.source for f in found]


def parquet(tmp_path: Path, **columns: object) -> bytes:
    pq.write_table(pa.table(columns), tmp_path / "made")
    return (tmp_path / "made").read_bytes()


def test_a_row_is_a_document_with_its_id_title_and_chosen_metadata(document: Callable[..., Document]) -> None:
    row = {"id": "甲-1", "title": " 水闸 ", "text": "第一行\r\n第二行 ", "year": 1921, "tags": ["a"], "other": 1}
    found = document("log.jsonl", lines(row), metadata_columns=("year", "tags", "absent"))
    assert (found.source, found.title, found.text) == ("log.jsonl#甲-1", "水闸", "第一行\r\n第二行 ")
    assert found.extra == {"year": 1921, "tags": ["a"]}


def test_the_columns_can_be_named(document: Callable[..., Document]) -> None:
    options = {"text_column": "正文", "id_column": "编号", "title_column": "标题"}
    found = document("a.csv", "编号,标题,正文\n7,水闸,放水\n", **options)
    assert (found.source, found.title, found.text) == ("a.csv#7", "水闸", "放水")


def test_without_an_id_column_rows_are_named_by_their_number(read: Read) -> None:
    assert outcomes(read("a.csv", "text\none\ntwo\n")) == ["a.csv#1", "a.csv#2"]


def test_a_documents_hash_changes_with_what_is_used_of_its_row_and_nothing_else(read: Read) -> None:
    def hash_of(**changes: object) -> str:
        row = {"id": "1", "text": "a", "title": "t", "used": 1, "unused": 1} | changes
        [found] = read("a.jsonl", lines(row), metadata_columns=("used",))
        assert isinstance(found, Document)
        return found.document_hash

    assert len(hash_of()) == 64
    assert hash_of(unused=2) == hash_of()
    assert len({hash_of(), hash_of(text="b"), hash_of(title="u"), hash_of(used=2), hash_of(id="2")}) == 5


def test_a_bad_row_goes_by_the_name_of_its_document_where_that_is_known(read: Read) -> None:
    rows = [{"id": "a", "text": "x"}, {"id": "b", "text": ""}, {"id": "a", "text": ""}]
    found = read("a.jsonl", lines(*rows) + '{"id": "\\ud800", "text": ""}\n{\n')
    assert [f.source for f in found] == ["a.jsonl#a", "a.jsonl#b", "a.jsonl", "a.jsonl", "a.jsonl"]
    [_, refused, *_] = read("b.jsonl", '{"text": "x"}\n{"text": ""}\n')
    assert refused.source == "b.jsonl#2"


def test_a_bad_line_costs_itself_alone(read: Read) -> None:
    good = json.dumps({"text": "good"}).encode()
    bad = [
        b"{", b"[1]", b"nonsense", b'{"text": null}', b'{"text": " "}', b'{"text": 3}', b'{"other": "x"}',
        b'{"text": "\\ud800"}', b'{"text": "\xff"}', b'{"text": "a\\u0000b"}', b"[" * 100_000,
    ]  # fmt: skip
    found = read("a.jsonl", b"\n".join([good, *bad, b"", good]))
    assert outcomes(found) == [
        "a.jsonl#1",
        *["row 2: malformed_row", "row 3: malformed_row", "row 4: malformed_row"],
        *["row 5: missing_text", "row 6: missing_text", "row 7: missing_text", "row 8: missing_text"],
        *["row 9: bad_unicode", "row 10: bad_unicode", "row 11: binary", "row 12: malformed_row"],
        "a.jsonl#13",
    ]
    assert all(f.remedy for f in found if isinstance(f, Reject))


def test_ids_that_are_missing_or_come_twice_are_rejected(read: Read) -> None:
    rows = [{"id": i, "text": "x"} for i in (1, "1", None, "", 2.5, True, [1], 2)]
    assert outcomes(read("a.jsonl", lines(*rows))) == [
        "a.jsonl#1",
        "row 2: duplicate_id",
        *[f"row {n}: missing_id" for n in range(3, 8)],
        "a.jsonl#2",
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv", "a.parquet"])
def test_a_file_without_the_text_column_is_one_reject_that_names_the_setting(
    tmp_path: Path, reject: Callable[..., Reject], name: str
) -> None:
    content: str | bytes = {
        "a.jsonl": lines(*[{"body": "x"}] * 300),
        "a.csv": "id,body\n1,x\n",
        "a.tsv": "id\tbody\n",
    }.get(name, "") or parquet(tmp_path, body=["x"])
    found = reject(name, content)
    assert (found.item, found.reason) == ("", "missing_column")
    assert "documents.text_column" in found.remedy
    assert "body" in found.message


@pytest.mark.parametrize("content", ["", "\n\n", "text,id\n"])
def test_a_file_without_rows_is_empty(reject: Callable[..., Reject], content: str) -> None:
    assert reject("a.csv", content).reason == "empty"


def test_csv_quotes_hold_line_breaks_and_separators(read: Read) -> None:
    found = read("a.csv", 'id,text\r\n1,"line one\r\nline two, with ""quotes"""\r\n2,plain\r\n')
    assert [f.text for f in found if isinstance(f, Document)] == ['line one\r\nline two, with "quotes"', "plain"]


def test_csv_rows_of_another_length_are_rejected(read: Read) -> None:
    found = read("a.csv", "id,text,x\n1,ok,\n2,short\n3,a, comma unquoted,x\n4,ok,\n")
    assert outcomes(found) == ["a.csv#1", "row 2: malformed_row", "row 3: malformed_row", "a.csv#4"]


def test_a_quote_that_is_never_closed_is_told(read: Read) -> None:
    assert outcomes(read("a.csv", 'text\nok\n"never closed\nrest\n')) == ["a.csv#1", "row 2: malformed_row"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_may_be_separated_as_other_programs_do(document: Callable[..., Document], delimiter: str) -> None:
    assert document("a.csv", f"id{delimiter}text\n1{delimiter}水闸\n").text == "水闸"


def test_a_field_may_be_longer_than_pythons_default_limit(document: Callable[..., Document]) -> None:
    assert len(document("a.csv", f"text\n{'字' * 200_000}\n").text) == 200_000


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "gb18030", "big5"])
def test_the_encoding_of_a_record_file_is_found_out(read: Read, codec: str) -> None:
    content = "id,text\n" + "".join(f"{n},中文的水文站第{n}行，有一份新的日志。\n" for n in range(50))
    assert [f.text for f in read("a.csv", content.encode(codec)) if isinstance(f, Document)][49] == (
        "中文的水文站第49行，有一份新的日志。"
    )


def test_an_encoding_that_only_shows_late_in_the_file_is_found_out(read: Read) -> None:
    content = lines(*[{"text": "plain"}] * 300_000).encode() + '{"text": "数据库里的水文记录"}\n'.encode("gb18030")
    last = read("a.jsonl", content)[-1]
    assert isinstance(last, Document)
    assert last.text == "数据库里的水文记录"


def test_parquet_values_become_json(tmp_path: Path, document: Callable[..., Document]) -> None:
    when = dt.datetime(2024, 2, 29, 6, 30, tzinfo=dt.UTC)
    columns = {
        "id": [7], "text": ["水位"], "when": [when], "day": [when.date()], "level": [float("nan")],
        "parts": [[1, 2]], "gauge": [{"name": "东"}], "raw": [b"\x01"],
    }  # fmt: skip
    found = document("a.parquet", parquet(tmp_path, **columns), metadata_columns=tuple(columns)[2:])
    assert found.source == "a.parquet#7"
    assert found.extra == {
        "when": "2024-02-29T06:30:00+00:00", "day": "2024-02-29", "level": None, "parts": [1, 2],
        "gauge": {"name": "东"}, "raw": "01",
    }  # fmt: skip


def test_a_parquet_string_that_is_no_utf8_costs_its_row_alone(tmp_path: Path, read: Read) -> None:
    bad = pa.Array.from_buffers(pa.string(), 3, pa.array([b"ok", b"\xff\xfe", b"good"]).buffers())
    found = read("a.parquet", parquet(tmp_path, text=bad))
    assert outcomes(found) == ["a.parquet#1", "row 2: bad_unicode", "a.parquet#3"]


def test_a_truncated_parquet_file_is_damaged(tmp_path: Path, reject: Callable[..., Reject]) -> None:
    assert reject("a.parquet", parquet(tmp_path, text=["a"])[:-20]).reason == "damaged"


def test_two_columns_of_one_name_are_no_choice_to_make(reject: Callable[..., Reject]) -> None:
    assert reject("a.csv", "text,text\na,b\n").reason == "duplicate_column"


def test_units_of_rows_are_announced_and_one_that_hung_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "x\n" * (2 * ROWS_PER_UNIT + 5))
    second, third = f"row {ROWS_PER_UNIT + 1}", f"row {2 * ROWS_PER_UNIT + 1}"
    announced: list[str] = []
    found = list(
        read_documents(source_file(path), DocumentOptions(), skip={second: "timeout: 60 s"}, at=announced.append)
    )
    assert announced == ["", "row 1", third]
    assert [f"{f.item}: {f.reason}" for f in found if isinstance(f, Reject)] == [f"{second}: timeout"]
    assert sum(isinstance(f, Document) for f in found) == ROWS_PER_UNIT + 5


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_rows_are_streamed(tmp_path: Path, name: str) -> None:
    path, text = tmp_path / name, "text " * 400
    match path.suffix:
        case ".jsonl":
            path.write_text(lines({"text": text}) * 20_000)
        case ".csv":
            path.write_text("text\n" + f"{text}\n" * 20_000)
        case _:
            pq.write_table(pa.table({"text": pa.array([text] * 20_000)}), path, row_group_size=2000)
    tracemalloc.start()
    try:
        assert sum(isinstance(f, Document) for f in read_documents(source_file(path), DocumentOptions())) == 20_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000  # of 40 MB
