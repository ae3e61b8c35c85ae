"""What is sent of a query and its documents, and that nothing is left out in silence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tasks.embedding.rerank.batches import RequestCapacity
from millrace.tasks.embedding.rerank.inputs import bytes_bound, cut, prepare_inputs
from millrace.tasks.embedding.rerank.models import RerankSpec, find_reranker
from millrace.tasks.errors import ConfigurationError

GTE = find_reranker("dashscope", "gte-rerank-v2", api="native")


def spec(*, per_text: int = 0, per_request: int = 0) -> RerankSpec:
    return replace(GTE, name="m", tokens_per_text=per_text, tokens_per_request=per_request)


def words(text: str) -> int:
    return len(text.split())


def test_what_fits_goes_as_it_is() -> None:
    inputs = prepare_inputs("the sluice", ["a gate", "衣服的质量"], GTE)
    assert (inputs.query, inputs.texts, inputs.documents) == ("the sluice", ("a gate", "衣服的质量"), ((0,), (1,)))
    assert inputs.loads == (10 + 6, 10 + 15)
    assert inputs.notices == ()


def test_the_same_text_is_sent_once() -> None:
    inputs = prepare_inputs("q", ["a", "b", "a", "a"], spec())
    assert (inputs.texts, inputs.documents) == (("a", "b"), ((0, 2, 3), (1,)))


def test_blank_documents_are_not_sent_and_named() -> None:
    inputs = prepare_inputs("q", ["a", " \n", "b", ""], spec())
    assert (inputs.texts, inputs.blank) == (("a", "b"), (1, 3))
    assert inputs.notices == ("blank, so not sent, and ranked last: documents[1], documents[3]",)


def test_long_documents_are_cut_and_named_with_how_much() -> None:
    inputs = prepare_inputs("q", ["a b c", "a b c d e", "x"], spec(per_text=3), count=words)
    assert inputs.texts == ("a b c", "a b c ", "x")
    assert inputs.notices == ("m takes 3 tokens of a document; cut: documents[1] by 3 characters (5 tokens)",)


def test_without_a_tokenizer_bytes_bound_the_tokens_and_the_notice_says_so() -> None:
    inputs = prepare_inputs("q", ["衣服的质量"], spec(per_text=7))
    assert inputs.texts == ("衣服",)
    assert inputs.notices == ("m takes 7 tokens of a document; cut: documents[0] by 3 characters (15 bytes)",)


def test_many_cut_documents_make_one_notice() -> None:
    (notice,) = prepare_inputs("q", [f"{number} b" for number in range(9)], spec(per_text=1), count=words).notices
    assert notice.endswith("documents[4] by 1 characters (2 tokens) and 4 more")


def test_a_long_query_is_cut_with_a_notice() -> None:
    inputs = prepare_inputs("a b c d e", ["x"], spec(per_text=3), count=words)
    assert inputs.query == "a b c "
    assert inputs.notices == ("m takes 3 tokens of a query; cut by 3 characters (5 tokens)",)


def test_an_instruction_counts_with_every_document() -> None:
    assert prepare_inputs("a b", ["x y z"], spec(per_request=100), instruct="find it", count=words).loads == (
        2 + 2 + 3,
    )


def test_a_blank_query_and_an_instruction_without_end_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="the query is blank"):
        prepare_inputs(" ", ["x"], GTE)
    with pytest.raises(ConfigurationError, match=r"rerank\.instruct is too long"):
        prepare_inputs("q", ["x"], spec(per_request=10), instruct="a b c d e", count=words)


@given(
    st.text(min_size=1, max_size=60).filter(str.strip),
    st.lists(st.text(max_size=60), max_size=8),
    st.sampled_from([0, 12, 40]),
    st.sampled_from([0, 32, 100]),
)
def test_any_two_texts_fit_and_every_document_is_somewhere(
    query: str, documents: list[str], per_text: int, per_request: int
) -> None:
    inputs = prepare_inputs(query, documents, spec(per_text=per_text, per_request=per_request))
    placed = [index for places in inputs.documents for index in places]
    assert sorted([*placed, *inputs.blank]) == list(range(len(documents)))
    assert all(
        documents[index].startswith(text)
        for text, at in zip(inputs.texts, inputs.documents, strict=True)
        for index in at
    )
    assert not per_text or all(bytes_bound(text) <= per_text for text in (inputs.query, *inputs.texts))
    heaviest = sorted(inputs.loads, reverse=True)
    assert RequestCapacity(0, per_request).takes(heaviest) >= min(2, len(heaviest))
    whole = inputs.query == query and all(
        documents[index] == text for text, at in zip(inputs.texts, inputs.documents, strict=True) for index in at
    )
    assert bool(inputs.notices) == (not whole or bool(inputs.blank))


@given(st.text(max_size=50), st.integers(0, 40))
def test_a_cut_is_the_longest_start_that_fits(text: str, limit: int) -> None:
    retained = cut(text, limit, bytes_bound)
    assert text.startswith(retained)
    assert bytes_bound(retained) <= limit
    assert retained == text or bytes_bound(text[: len(retained) + 1]) > limit
