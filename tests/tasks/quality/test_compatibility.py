"""What is said when queries and documents are not embedded alike."""

from dataclasses import replace

import pytest

from millrace.tasks.quality.compatibility import Compatibility, check_compatibility
from millrace.tasks.records import EmbeddingSpace

NATIVE = EmbeddingSpace("dashscope", "text-embedding-v4", 1024, "document")
COMPATIBLE = EmbeddingSpace("dashscope", "text-embedding-v4", 1024)
QUERY = replace(NATIVE, text_type="query")


def pairing(query: EmbeddingSpace, *index: EmbeddingSpace) -> Compatibility:
    return check_compatibility(query, {space.name: (space, 10) for space in index})


@pytest.mark.parametrize("query", [QUERY, replace(QUERY, instruct="Find the passage")])
def test_a_query_against_documents_is_as_it_should_be(query: EmbeddingSpace) -> None:
    assert pairing(query, NATIVE) == Compatibility()


def test_a_compatible_index_takes_compatible_and_native_queries() -> None:
    assert pairing(COMPATIBLE, COMPATIBLE) == pairing(QUERY, COMPATIBLE) == Compatibility()


def test_other_dimensions_are_refused_in_words() -> None:
    refusal = pairing(replace(QUERY, dimensions=512), NATIVE).refusal
    assert "text-embedding-v4, 1024 dimensions, text_type document" in refusal
    assert "the query is embedded with text-embedding-v4, 512 dimensions" in refusal
    assert "scores would mean nothing" in refusal


def test_another_model_is_refused() -> None:
    assert "text-embedding-v3" in pairing(replace(QUERY, model="text-embedding-v3"), NATIVE).refusal


@pytest.mark.parametrize(
    ("query", "index", "word"),
    [
        (NATIVE, NATIVE, "search.text_type = query"),
        (COMPATIBLE, NATIVE, "embedding.api = native"),
        (QUERY, QUERY, "were embedded as queries"),
        (QUERY, replace(NATIVE, instruct="Represent it"), "'Represent it'"),
        (replace(QUERY, endpoint="http://here/v1"), NATIVE, "http://here/v1"),
    ],
)
def test_what_can_be_compared_and_should_not_is_warned_of(
    query: EmbeddingSpace, index: EmbeddingSpace, word: str
) -> None:
    found = pairing(query, index)
    assert not found.refusal
    assert len(found.warnings) == 1
    assert word in found.warnings[0]


def test_two_apis_of_one_host_are_one_endpoint() -> None:
    native = replace(NATIVE, endpoint="http://gateway:80/api/v1")
    assert pairing(replace(QUERY, endpoint="http://gateway:80/compatible-mode/v1"), native) == Compatibility()


def test_documents_that_do_not_fit_among_others_that_do_are_counted() -> None:
    found = pairing(QUERY, NATIVE, replace(NATIVE, dimensions=512))
    assert not found.refusal
    assert found.warnings[0].startswith("10 of 20 documents do not fit the query")


def test_a_space_that_nobody_describes_is_named() -> None:
    assert "v4-1024-abc" in check_compatibility(QUERY, {"v4-1024-abc": (None, 3)}).warnings[0]
    assert check_compatibility(QUERY, {QUERY.name: (None, 3)}) == check_compatibility(QUERY, {}) == Compatibility()
