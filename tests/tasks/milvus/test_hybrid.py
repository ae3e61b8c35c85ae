"""What is found by its words: a rare token that no dense vector brings out, in Chinese and in English."""

import hashlib
import logging
import re
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from millrace.tasks.errors import CollectionError, ConfigurationError
from millrace.tasks.milvus import Collection, CollectionShape, MilvusAddress, check_rows
from millrace.tasks.milvus.collection_spec import Hybrid
from millrace.tasks.milvus.hybrid import RANKED_ROWS, fused
from millrace.tasks.milvus.rows import Vectors
from millrace.tasks.milvus.scalar_fields import scalar_fields
from millrace.tasks.records import sparse_bytes
from tests.tasks.milvus.conftest import OpenCollection
from tests.tasks.milvus.samples import SHAPE, make_rows, row_id, vector_of

BM25 = replace(SHAPE, hybrid="bm25")
SPARSE = replace(SHAPE, hybrid="sparse")
NEVER = 2**32 - 2

FAR = -vector_of(0)
"""The vector of what is to be found: the farthest there is from the query's."""


def sparse_of(text: str) -> bytes:
    """A word is a run of letters and digits, or a Chinese character; a model would weigh codes more than the rest."""
    words = re.findall(r"[a-z0-9]+|[一-鿿]", text.lower())
    weights = [1.0 if re.search(r"\d", word) else 0.3 for word in words]
    return sparse_bytes([int(hashlib.sha256(word.encode()).hexdigest()[:7], 16) for word in words], weights)


def rows_of(contents: list[str]) -> pa.Table:
    return pa.table(
        {
            "id": [row_id(n) for n in range(len(contents))],
            "content": contents,
            "metadata": [f'{{"number":{n}}}' for n in range(len(contents))],
            "sparse": pa.array([sparse_of(content) for content in contents], pa.binary()),
        }
    )


def near_the_query(count: int) -> Vectors:
    """Vectors within 45 degrees of the query's, `vector_of(0)`."""
    vectors = vector_of(0) + 0.5 * np.stack([vector_of(n) for n in range(1, count + 1)])
    return vectors.astype(np.float32)


def opened(open_collection: OpenCollection, shape: CollectionShape) -> Collection:
    """The collection; where it cannot be had (an old server, no dictionary), the test is skipped with that reason."""
    try:
        return open_collection(shape=shape)
    except ConfigurationError as refusal:
        pytest.skip(str(refusal))


RARE = {
    "english": ("The spare winding handle AB-7731X hangs behind the door.", "where is AB-7731X", "Gate {n} is closed."),
    "an error code": ("Error E4711: the float is stuck.", "what does e4711 mean", "Error E{n}: the gate is stuck."),
    "chinese": ("备件 AB-7731X，存放在东侧机房。", "AB-7731X 在哪里", "第{n}号闸门，存放在西侧机房。"),
    "chinese, an error code": ("报警 E4711：浮子卡住。", "E4711 是什么", "报警 E{n}：闸门卡住。"),
}


@pytest.mark.parametrize("shape", [BM25, replace(BM25, analyzer="english"), SPARSE], ids=["bm25", "english", "sparse"])
@pytest.mark.parametrize(("rare", "query", "others"), RARE.values(), ids=RARE)
def test_a_rare_token_that_dense_alone_misses_comes_first(
    open_collection: OpenCollection, shape: CollectionShape, rare: str, query: str, others: str
) -> None:
    count = RANKED_ROWS + 30
    collection = opened(open_collection, shape)
    contents = [others.format(n=n) for n in range(count)]
    collection.upsert(rows_of([*contents, rare]), np.vstack([near_the_query(count), FAR]))
    dense = collection.search(vector_of(0), top_k=RANKED_ROWS)
    assert rare not in {hit.content for hit in dense}
    for top_k in (1, 5):
        hits = collection.hybrid_search(vector_of(0), top_k=top_k, text=query, sparse=sparse_of(query))
        assert (len(hits), hits[0].content, hits[0].metadata) == (top_k, rare, {"number": count})


@pytest.mark.parametrize("shape", [BM25, SPARSE], ids=["bm25", "sparse"])
@pytest.mark.parametrize(
    ("query", "pattern"),
    [("SKU-0161-QX", "Part SKU-{n:04}-QX fits the pump."), ("报警 ET1004", "报警 ET1{n:03}：水泵停机。")],
)
def test_a_code_comes_before_its_neighbours_that_share_most_of_it(
    open_collection: OpenCollection, shape: CollectionShape, query: str, pattern: str
) -> None:
    collection = opened(open_collection, shape)
    contents = [pattern.format(n=n) for n in range(180)]
    wanted = next(content for content in contents if "SKU-0161-" in content or "ET1004" in content)
    order = [content for content in contents if content != wanted]
    collection.upsert(rows_of([*order, wanted]), np.vstack([near_the_query(len(order)), FAR]))
    hits = collection.hybrid_search(vector_of(0), top_k=3, text=query, sparse=sparse_of(query))
    assert hits[0].content == wanted
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


GLUED = ("更换备件AB7731X后报警E4711消失。", "E4711是什么意思")
"""A code between Chinese characters, and a question that leaves no space either."""


def test_a_code_between_chinese_characters_is_found_with_a_dictionary(open_collection: OpenCollection) -> None:
    collection = opened(open_collection, replace(BM25, analyzer="chinese"))
    contents = [f"第{n}号闸门的报警E{n}已经消失。" for n in range(150)]
    collection.upsert(rows_of([*contents, GLUED[0]]), np.vstack([near_the_query(150), FAR]))
    assert collection.hybrid_search(vector_of(0), top_k=1, text=GLUED[1])[0].content == GLUED[0]
    assert collection.hybrid_search(vector_of(0), top_k=1, text="ab7731x")[0].content == GLUED[0]


def test_the_standard_analyzer_takes_a_run_of_chinese_with_what_touches_it_for_one_word(
    open_collection: OpenCollection,
) -> None:
    collection = opened(open_collection, BM25)
    collection.upsert(rows_of(["闸门关闭。", GLUED[0]]), np.stack([vector_of(0), FAR]))
    assert collection.hybrid_search(vector_of(0), top_k=1, text="报警消失")[0].content == "闸门关闭。"
    whole = collection.hybrid_search(vector_of(0), top_k=1, text="更换备件AB7731X后报警E4711消失")
    assert whole[0].content == GLUED[0]


@pytest.mark.parametrize("hybrid", ["sparse", "bm25"])
def test_scores_are_those_that_milvus_itself_gives(open_collection: OpenCollection, hybrid: Hybrid) -> None:
    from pymilvus import AnnSearchRequest, RRFRanker

    collection = opened(open_collection, replace(SHAPE, hybrid=hybrid))
    contents = [f"gate {n} " + "stuck " * (n % 7 + 1) + "open " * (n % 3) for n in range(40)]
    collection.upsert(rows_of(contents), near_the_query(40))
    query = "stuck"
    ours = collection.hybrid_search(vector_of(0), top_k=40, text=query, sparse=sparse_of(query), rrf_k=10)
    pairs = dict(np.frombuffer(sparse_of(query), [("index", "<u4"), ("value", "<f4")]).tolist())
    words = query if hybrid == "bm25" else pairs
    requests = [
        AnnSearchRequest(
            [words], "sparse", {"metric_type": "BM25" if hybrid == "bm25" else "IP", "params": {}}, limit=100
        ),
        AnnSearchRequest([vector_of(0)], "embedding", {"metric_type": "COSINE", "params": {"ef": 200}}, limit=100),
    ]
    client = collection._connection.client
    theirs = client.hybrid_search(collection.name, requests, RRFRanker(10), limit=40, consistency_level="Strong")[0]
    assert {hit.id: hit.score for hit in ours} == pytest.approx({hit["id"]: hit["distance"] for hit in theirs})
    assert [hit.score for hit in ours] == sorted((hit.score for hit in ours), reverse=True)


def test_of_equal_scores_the_better_by_words_comes_first() -> None:
    scores = fused([["by words"], ["by meaning"]], 60)
    assert sorted(scores, key=lambda row: -scores[row]) == ["by words", "by meaning"]
    assert len(set(scores.values())) == 1


@pytest.mark.parametrize("shape", [BM25, SPARSE], ids=["bm25", "sparse"])
def test_a_filter_holds_for_what_words_find_too(open_collection: OpenCollection, shape: CollectionShape) -> None:
    collection = opened(open_collection, shape)
    collection.upsert(rows_of(["stuck gate", "open gate", "stuck lock"]), near_the_query(3))
    hits = collection.hybrid_search(
        vector_of(0), top_k=3, text="stuck", sparse=sparse_of("stuck"), filter='metadata["number"] >= 1'
    )
    assert [hit.metadata["number"] for hit in hits] == [2, 1]
    with pytest.raises(ConfigurationError, match="filter 'number like'"):
        collection.hybrid_search(vector_of(0), top_k=3, text="x", sparse=sparse_of("x"), filter="number like")


@pytest.mark.parametrize("shape", [BM25, SPARSE], ids=["bm25", "sparse"])
def test_a_query_without_words_is_answered_by_meaning_alone(
    open_collection: OpenCollection, shape: CollectionShape
) -> None:
    collection = opened(open_collection, shape)
    collection.upsert(rows_of(["a", "b", "c"]), np.stack([vector_of(n) for n in range(3)]))
    hits = collection.hybrid_search(vector_of(1), top_k=1, text=" ", sparse=b"")
    assert [(hit.id, hit.score) for hit in hits] == [(row_id(1), 1 / 61)]


def test_what_was_just_upserted_or_deleted_is_seen(open_collection: OpenCollection) -> None:
    collection = opened(open_collection, BM25)
    for round_number in range(3):
        collection.upsert(rows_of([f"round r{round_number}"]), near_the_query(1))
        found = collection.hybrid_search(vector_of(0), top_k=2, text=f"r{round_number}")
        assert [hit.content for hit in found] == [f"round r{round_number}"]
    collection.delete([row_id(0)])
    assert collection.hybrid_search(vector_of(0), top_k=2, text="r2") == []


def test_sparse_vectors_come_back_in_the_same_bytes(open_collection: OpenCollection) -> None:
    collection = opened(open_collection, SPARSE)
    sparse = [sparse_bytes([NEVER - 1, 0, 7], [1e-30, 0.1, 3.4e38]), b"", sparse_of("闸门 gate")]
    rows = rows_of(["a", "b", "c"]).set_column(3, "sparse", pa.array(sparse, pa.binary()))
    assert check_rows(rows, near_the_query(3), SPARSE) == []
    collection.upsert(rows, near_the_query(3))
    ids = rows["id"].to_pylist()
    assert [row.sparse for row in collection.fetch(ids, with_vectors=True)] == sparse
    assert [row.sparse for row in collection.fetch(ids)] == [None] * 3
    assert {hit.id for hit in collection.search(vector_of(0), top_k=3)} == set(ids)


def test_a_row_whose_words_milvus_makes_brings_none_and_replaces_them(open_collection: OpenCollection) -> None:
    collection = opened(open_collection, BM25)
    collection.upsert(rows_of(["old words"]), near_the_query(1))
    collection.upsert(rows_of(["new text"]).drop_columns(["sparse"]), near_the_query(1))
    assert collection.fetch([row_id(0)], with_vectors=True)[0].sparse is None
    assert collection.hybrid_search(vector_of(0), top_k=1, text="old")[0].score == 1 / 61
    assert collection.hybrid_search(vector_of(0), top_k=1, text="new")[0].score == 2 / 61


def test_the_owners_four_fields_are_the_default(collection: Collection) -> None:
    described = collection._connection.client.describe_collection(collection.name)
    assert [field["name"] for field in described["fields"]] == ["id", "content", "embedding", "metadata"]
    with pytest.raises(ConfigurationError, match=r"milvus\.hybrid"):
        collection.hybrid_search(vector_of(0), top_k=1, text="x")


def test_a_search_without_what_it_needs_is_a_mistake_of_the_caller(open_collection: OpenCollection) -> None:
    collection = opened(open_collection, SPARSE)
    with pytest.raises(ValueError, match="sparse vector"):
        collection.hybrid_search(vector_of(0), top_k=1, text="x")
    with pytest.raises(ValueError, match="sparse is missing"):
        collection.upsert(*make_rows(range(1)))


@pytest.mark.parametrize(
    ("shape", "other", "lines"),
    [
        (SHAPE, BM25, ["content: expected VARCHAR(8192) with the analyzer standard, found VARCHAR(8192)"]),
        (SHAPE, SPARSE, ["sparse: expected SPARSE_FLOAT_VECTOR, there is no such field"]),
        (SPARSE, SHAPE, ["sparse: found SPARSE_FLOAT_VECTOR, which every row would have to fill"]),
        (BM25, SPARSE, ["sparse: expected SPARSE_FLOAT_VECTOR, found SPARSE_FLOAT_VECTOR made by Milvus"]),
        (
            BM25,
            replace(BM25, analyzer="english"),
            [
                "content: expected VARCHAR(8192) with the analyzer english, found VARCHAR(8192) with the analyzer standard"
            ],
        ),
    ],
    ids=["none to bm25", "none to sparse", "sparse to none", "bm25 to sparse", "another analyzer"],
)
def test_a_collection_with_other_words_is_refused_field_by_field(
    open_collection: OpenCollection, shape: CollectionShape, other: CollectionShape, lines: list[str]
) -> None:
    opened(open_collection, shape).close()
    with pytest.raises(CollectionError) as refusal:
        open_collection(shape=other)
    output = [line.strip() for line in str(refusal.value).splitlines()]
    assert set(lines) <= set(output)
    assert "rebuild --drop" in output[-1]


def test_a_collection_with_bm25_can_also_be_used_without(open_collection: OpenCollection) -> None:
    opened(open_collection, BM25).close()
    with open_collection(shape=SHAPE) as collection:
        collection.upsert(*make_rows(range(3)))
        assert collection.search(vector_of(1), top_k=1)[0].id == row_id(1)
    assert open_collection(shape=BM25).hybrid_search(vector_of(1), top_k=1, text="2")[0].id == row_id(2)


def test_chinese_on_lite_without_its_dictionary_says_what_to_install(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(ConfigurationError, match=r"pip install .millrace\[jieba\]"):
        Collection.open(MilvusAddress(f"{tmp_path}/x.db"), "rows", shape=replace(BM25, analyzer="chinese"))


def test_the_dictionary_tells_nothing_on_standard_error(
    open_collection: OpenCollection, capfd: pytest.CaptureFixture[str]
) -> None:
    collection = opened(open_collection, replace(BM25, analyzer="chinese"))
    collection.upsert(rows_of(["闸门关闭。"]), near_the_query(1))
    logging.getLogger().handlers.clear()
    assert capfd.readouterr().err == ""


@pytest.mark.server
@pytest.mark.parametrize(
    ("shape", "output"),
    [
        (SPARSE, r"milvus\.hybrid = sparse: .* came with 2\.4"),
        (BM25, r"milvus\.hybrid = bm25: .* came with 2\.5"),
        (
            replace(SHAPE, scalar_fields=scalar_fields(["lang:varchar(8)"]), partition_key="lang"),
            r"milvus\.partition_key = lang: .* came with 2\.4",
        ),
    ],
    ids=["sparse", "bm25", "partition key"],
)
def test_a_server_that_is_too_old_for_it_is_told_before_anything_is_made(
    server_uri: str, shape: CollectionShape, output: str
) -> None:
    from pymilvus import MilvusClient

    client = MilvusClient(server_uri)
    if not str(client.get_server_version()).startswith("v2.3"):
        pytest.skip("this server is not too old")
    with pytest.raises(ConfigurationError, match=output):
        Collection.open(MilvusAddress(server_uri), "never_made", shape=shape)
    assert not client.has_collection("never_made")
