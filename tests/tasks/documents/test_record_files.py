"""Record files: one document a row, and one bad row costs itself alone."""

import csv
import datetime as dt
import gzip
import io
import json
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.documents import DocumentOptions, LeftOutMember, read_documents
from millrace.tasks.documents.delimited import Lines, read_header, read_rows
from millrace.tasks.documents.record_files import ROWS_PER_UNIT
from millrace.tasks.records import Document, Reject
from tests.tasks.documents.conftest import Read, source_file


def lines(*rows: object) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def outcomes(found: Sequence[Document | LeftOutMember | Reject]) -> list[str]:
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


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_anything_is_empty(reject: Callable[..., Reject], name: str, content: str) -> None:
    found = reject(name, content)
    assert (found.reason, "Remove" in found.remedy) == ("empty", False)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.parquet"])
def test_a_table_without_rows_is_no_document_and_no_reject(tmp_path: Path, read: Read, name: str) -> None:
    assert read(name, {"a.csv": "text,id\n", "a.tsv": "text\tid\n"}.get(name, "") or parquet(tmp_path, text=[])) == []


def test_csv_quotes_hold_line_breaks_and_separators(read: Read) -> None:
    found = read("a.csv", 'id,text\r\n1,"line one\r\nline two, with ""quotes"""\r\n2,plain\r\n')
    assert [f.text for f in found if isinstance(f, Document)] == ['line one\r\nline two, with "quotes"', "plain"]


def test_csv_rows_of_another_length_are_rejected(read: Read) -> None:
    found = read("a.csv", "id,text,x\n1,ok,\n2,short\n3,a, comma unquoted,x\n4,ok,\n")
    assert outcomes(found) == ["a.csv#1", "row 2: malformed_row", "row 3: malformed_row", "a.csv#4"]


def test_a_quote_that_is_never_closed_costs_its_row_alone(read: Read) -> None:
    assert outcomes(read("a.csv", 'text\nok\n"never closed\nrest\n')) == [
        "a.csv#1", "row 2: malformed_row", "a.csv#3",
    ]  # fmt: skip


def texts(found: Sequence[Document | LeftOutMember | Reject]) -> dict[str, str]:
    assert all(isinstance(f, Document) for f in found), outcomes(found)
    return {f.source.partition("#")[2]: f.text for f in found if isinstance(f, Document)}


@pytest.mark.parametrize("delimiter", [",", "\t"])
@pytest.mark.parametrize(
    ("opening", "closing"), [(9, None), (9, 39), (0, 59), (57, 59)], ids=["unclosed", "30 rows", "all", "two"]
)
def test_a_quote_of_the_text_swallows_no_rows(read: Read, delimiter: str, opening: int, closing: int | None) -> None:
    """60 rows were 30 documents, and an edit of an indexed table removed live documents with exit code 0."""
    said = [f"this is row {n} of the talk" for n in range(1, 61)]
    said[opening] = '"' + said[opening]
    if closing is not None:
        said[closing] += '"'
    rows = [f"{n}{delimiter}{text}" for n, text in enumerate(said, start=1)]
    name = "a.csv" if delimiter == "," else "a.tsv"
    found = read(name, f"id{delimiter}text\n" + "\n".join(rows) + "\n")
    assert texts(found) == {str(n): text for n, text in enumerate(said, start=1)}


def test_csv_fields_over_several_lines_stay_fields_of_one_row(read: Read) -> None:
    table = (
        'id,text\n1,"Opening hours\n9, to five\nand, on Sundays, never"\n2,"Sizes\n10, 20\n30, 40"\n3,"a ""b""\n\nc"\n'
    )
    assert texts(read("a.csv", table)) == {
        "1": "Opening hours\n9, to five\nand, on Sundays, never",
        "2": "Sizes\n10, 20\n30, 40",
        "3": 'a "b"\n\nc',
    }


@given(
    rows=st.lists(st.tuples(st.text('a", ;\t\n\r', min_size=1), st.text('b",\n', max_size=9)), max_size=8),
    delimiter=st.sampled_from(",;"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_a_program_writes_as_csv_is_read_as_it_was(
    rows: list[tuple[str, str]], delimiter: str, quoting: Literal[0, 1]
) -> None:
    table = io.StringIO(newline="")
    csv.writer(table, delimiter=delimiter, quoting=quoting).writerows([("text", "note"), *rows])
    lines = Lines(iter(io.StringIO(table.getvalue(), newline="")))
    header = read_header(lines, is_tsv=False, text_columns=("text",), id_column="id")
    assert header is not None
    assert list(read_rows(lines, header, is_tsv=False)) == [list(row) for row in rows]


def test_tsv_cells_in_quotes_lose_them_and_may_hold_tabs_and_lines(read: Read) -> None:
    table = 'id\ttext\tx\n1\t"a ""b"" c"\t\n2\t"tab\there"\t\n3\t"line one\nline two"\t\n4\t5" pipe, 6"\t"\n'
    assert texts(read("a.tsv", table)) == {
        "1": 'a "b" c',
        "2": "tab\there",
        "3": "line one\nline two",
        "4": '5" pipe, 6"',
    }


def test_time_grows_with_the_lines_of_a_hostile_table() -> None:
    """Each line opens a quote; every one of them was to be read on to the end of the file."""
    for line in ('x","\n', '1,"\n', '"\n', '1\t"\n', '"a\n', '"",",\n'):
        for delimiter in (",", "\t"):
            looked_at = 0

            def counted(lines: list[str]) -> Iterator[str]:
                nonlocal looked_at
                for each in lines:
                    looked_at += 1
                    yield each

            class Counted(Lines):
                def take(self) -> str | None:
                    nonlocal looked_at
                    looked_at += 1
                    return super().take()

            content = ["id" + delimiter + "text\n", *[line] * 2000]
            lines = Counted(counted(content))
            header = read_header(lines, is_tsv=delimiter == "\t", text_columns=("text",), id_column="id")
            assert header is not None
            rows = list(read_rows(lines, header, is_tsv=delimiter == "\t"))
            assert len(rows) <= 2000
            assert looked_at < 5 * 2000, (line, delimiter)


@pytest.mark.parametrize(
    "head",
    [
        "sep=;\r\nid;text\r\n",
        '"sep=;"\n\nid;text\n',
        "\ufeffsep=;\nid;text\n",
        "\n\n \nid;text\n",
        '"id";"text"\n',
        "id ; text\n",
    ],
)
def test_lines_before_the_names_of_columns_are_passed_over(read: Read, head: str) -> None:
    assert texts(read("a.csv", head + "1;one\r\n2;two\r\n")) == {"1": "one", "2": "two"}


def test_the_name_of_a_column_may_have_a_line_break(read: Read) -> None:
    assert texts(read("a.csv", 'text,"note\n(free)",id\nhello,a,1\nsecond,b,2\n')) == {"1": "hello", "2": "second"}


def test_objects_over_several_lines_are_read(read: Read) -> None:
    rows = "\n".join(json.dumps({"id": n, "text": f"a{n}", "m": {"k": [1]}}, indent=2) for n in (1, 2))
    assert texts(read("a.jsonl", rows)) == {"1": "a1", "2": "a2"}


def test_an_array_over_several_lines_is_one_reject_that_says_how_to_convert_it(reject: Callable[..., Reject]) -> None:
    found = reject("a.jsonl", json.dumps([{"text": "a"}, {"text": "b"}], indent=1))
    assert (found.item, "jq" in found.remedy) == ("", True)


def test_a_mark_within_a_file_of_joined_exports_is_no_part_of_a_row(read: Read) -> None:
    assert texts(read("a.jsonl", '{"id":1,"text":"a"}\n\ufeff{"id":2,"text":"b"}\n')) == {"1": "a", "2": "b"}


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_read(read: Read, codec: str) -> None:
    assert texts(read("a.csv", "id,text\r\n1,hello world this is a row\r\n".encode(codec))) == {
        "1": "hello world this is a row"
    }


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv"])
@pytest.mark.parametrize(
    ("content", "word"), [(gzip.compress(b"x" * 99, mtime=0), "gzip"), (b"\0" * 999 + b"ab", "NUL")]
)
def test_what_is_no_text_is_named(reject: Callable[..., Reject], name: str, content: bytes, word: str) -> None:
    found = reject(name, content)
    assert (found.item, found.reason, word in found.message) == ("", "binary", True)


def test_a_value_that_cannot_be_converted_costs_its_row_or_less(tmp_path: Path, read: Read) -> None:
    """A time after the year 9999 cost the rows of its batch and all after it."""
    until = [0] * 1000
    until[699] = 2**62
    table = parquet(
        tmp_path,
        id=list(range(1000)),
        text=[f"row {n}" for n in range(1000)],
        until=pa.array(until, pa.timestamp("us")),
    )
    found = read("a.parquet", table, metadata_columns=("until",))
    assert len([f for f in found if isinstance(f, Document)]) >= 999
    assert [f.item for f in found if isinstance(f, Reject)] in ([], ["row 700"])


def test_a_time_of_nanoseconds_is_its_text(tmp_path: Path, document: Callable[..., Document]) -> None:
    table = parquet(tmp_path, text=["x"], at=pa.array([1_700_000_000_123_456_789], pa.timestamp("ns")))
    assert document("a.parquet", table, metadata_columns=("at",)).extra == {"at": "2023-11-14T22:13:20.123456789"}


def test_a_value_too_deep_for_json_costs_its_row_alone(read: Read) -> None:
    deep = '{"id": 2, "text": "x", "m": ' + "[" * 900 + "]" * 900 + "}\n"
    content = lines({"id": 1, "text": "a"}) + deep + lines({"id": 3, "text": "c"})
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(600)
    try:
        found = read("a.jsonl", content, metadata_columns=("m",))
    finally:
        sys.setrecursionlimit(limit)
    assert outcomes(found)[0] == "a.jsonl#1"
    assert outcomes(found)[2] == "a.jsonl#3"
    assert isinstance(found[1], Reject)


def test_text_that_is_not_marked_as_such_is_read(tmp_path: Path, read: Read) -> None:
    columns = {"id": [b"a", b"b"], "text": [b"bytes text", b"\xff"]}
    found = read("a.parquet", parquet(tmp_path, **columns))
    assert outcomes(found) == ["a.parquet#a", "row 2: bad_unicode"]


def test_ids_that_became_floats_are_whole_numbers(tmp_path: Path, read: Read) -> None:
    found = read("a.parquet", parquet(tmp_path, id=[1.0, 2.0, None, 2.5], text=["one", "two", "three", "four"]))
    assert outcomes(found) == ["a.parquet#1", "a.parquet#2", "row 3: missing_id", "row 4: missing_id"]


@pytest.mark.parametrize(
    ("column", "setting"), [("m", "documents.metadata_columns"), ("title", "documents.title_column")]
)
def test_metadata_that_no_collection_holds_is_refused_before_the_text_is_embedded(
    read: Read, column: str, setting: str
) -> None:
    rows = [{"id": 1, "text": "words", column: "字" * 21_900}, {"id": 2, "text": "words", column: "x" * 60_000}]
    refused, taken = read("a.jsonl", lines(*rows), metadata_columns=("m",))
    assert isinstance(refused, Reject)
    assert (refused.source, refused.item, refused.reason) == ("a.jsonl#1", "row 1", "metadata_too_long")
    assert setting in refused.remedy
    assert repr(column) in refused.message
    assert isinstance(taken, Document)


def test_texts_of_several_columns_are_joined_with_their_names(read: Read) -> None:
    rows = [{"id": 1, "q": "How deep?", "a": "Two metres."}, {"id": 2, "q": "Why?", "a": None}, {"id": 3, "x": "no"}]
    found = read("a.jsonl", lines(*rows), text_column=("q", "a"))
    assert texts(found[:2]) == {"1": "q: How deep?\n\na: Two metres.", "2": "q: Why?"}
    assert outcomes(found[2:]) == ["row 3: missing_text"]
    by_glob = {"b*.csv": ("q", "a"), "*": "body"}
    assert texts(read("b1.csv", "id,q,a\n1,x,y\n", text_column=by_glob)) == {"1": "q: x\n\na: y"}
    assert texts(read("c.csv", "id,body\n1,x\n", text_column=by_glob)) == {"1": "x"}


def test_a_caller_with_a_deadline_is_told_that_a_large_file_is_being_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millrace.tasks.documents.record_rows._SAMPLE_BYTES", 1 << 10)
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "some words\n" * 10_000)
    announced: list[str] = []
    assert len(list(read_documents(source_file(path), DocumentOptions(), at=announced.append))) == 10_000
    assert announced.count("row 1") > 5


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
