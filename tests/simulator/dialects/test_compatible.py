"""The compatible endpoint, through the real openai SDK."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
import openai
import pytest

from tests.simulator.books import TextCount
from tests.simulator.fixtures import StartSimulator
from tests.simulator.limits import Limits
from tests.simulator.model.vectors import expected_vector
from tests.simulator.refusals import Reason
from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY, SimulatorSettings

V4 = "text-embedding-v4"


def client_of(simulator: Simulator, api_key: str = API_KEY, timeout_s: float = 20.0) -> openai.OpenAI:
    return openai.OpenAI(base_url=simulator.base_url, api_key=api_key, max_retries=0, timeout=timeout_s)


def embed(
    simulator: Simulator, texts: Sequence[str], model: str = V4, dimensions: int | openai.Omit = openai.omit
) -> openai.types.CreateEmbeddingResponse:
    with client_of(simulator) as client:
        return client.embeddings.create(model=model, input=list(texts), dimensions=dimensions, encoding_format="float")


def refusal(
    simulator: Simulator, texts: Sequence[str], model: str = V4, dimensions: int = 1024
) -> tuple[int, str | None, str]:
    with pytest.raises(openai.APIStatusError) as caught:
        embed(simulator, texts, model, dimensions)
    assert caught.value.request_id
    return caught.value.status_code, caught.value.code, str(caught.value.body["message"])  # type: ignore[index]


def test_each_text_gets_its_vector_and_the_bill_is_its_tokens_and_one(simulator: Simulator) -> None:
    texts = ["衣服的质量杠杠的", "我想知道迪士尼的退票政策"]
    answer = embed(simulator, texts)
    assert (answer.model, answer.object) == (V4, "list")
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (6 + 8, 6 + 8)
    assert [item.index for item in answer.data] == [0, 1]
    for text, item in zip(texts, answer.data, strict=True):
        assert np.array_equal(np.asarray(item.embedding, np.float32), expected_vector(V4, 1024, text))


def test_both_prefixes_answer(simulator: Simulator) -> None:
    for prefix in ("/v1", "/compatible-mode/v1"):
        with openai.OpenAI(base_url=simulator.root_url + prefix, api_key=API_KEY, max_retries=0) as client:
            assert len(client.embeddings.create(model=V4, input="one text").data) == 1


@pytest.mark.parametrize(
    ("model", "asked", "got"),
    [(V4, 2048, 2048), (V4, 64, 64), ("text-embedding-v3", 512, 512), ("text-embedding-v2", 64, 1536)],
)
def test_dimensions_are_those_of_the_model(simulator: Simulator, model: str, asked: int, got: int) -> None:
    assert len(embed(simulator, ["a"], model, asked).data[0].embedding) == got


def test_v2_takes_25_texts_and_bills_no_end_mark(simulator: Simulator) -> None:
    assert embed(simulator, ["代码改变世界"] * 25, "text-embedding-v2").usage.total_tokens == 3 * 25


def test_a_drifting_tokenizer_bills_its_offset(simulator: Simulator) -> None:
    simulator.change({"token_offset": 2})
    assert embed(simulator, ["衣服的质量杠杠的"] * 3).usage.total_tokens == 3 * 8


def test_shuffled_items_keep_their_index(simulator: Simulator) -> None:
    simulator.change({"shuffled": True})
    texts = [f"text {number}" for number in range(10)]
    data = embed(simulator, texts).data
    assert [item.index for item in data] != list(range(10))
    for item in data:
        assert np.array_equal(np.asarray(item.embedding, np.float32), expected_vector(V4, 1024, texts[item.index]))


@pytest.mark.parametrize("compressed", [False, True])
def test_a_compressed_answer_is_the_same_answer(simulator: Simulator, compressed: bool) -> None:
    simulator.change({"gzip": compressed})
    assert np.array_equal(
        np.asarray(embed(simulator, ["a"]).data[0].embedding, np.float32), expected_vector(V4, 1024, "a")
    )


@pytest.mark.parametrize("mode", ["ignore", "honour"])
def test_a_client_that_asks_for_base64_gets_the_same_vector(simulator: Simulator, mode: str) -> None:
    simulator.change({"encoding_format": mode})
    with client_of(simulator) as client:
        unset = client.embeddings.create(model=V4, input="a")
        asked = client.embeddings.create(model=V4, input="a", encoding_format="base64")
    assert np.array_equal(np.asarray(unset.data[0].embedding, np.float32), expected_vector(V4, 1024, "a"))
    assert isinstance(asked.data[0].embedding, str if mode == "honour" else list)


@pytest.mark.parametrize(
    ("texts", "model", "dimensions", "expected"),
    [
        (
            ["a"] * 11,
            V4,
            1024,
            (
                400,
                "InvalidParameter",
                "<400> InternalError.Algo.InvalidParameter: Value error, batch size is invalid, "
                "it should not be larger than 10.: input.contents",
            ),
        ),
        (
            ["a"],
            "text-embedding-v3",
            2048,
            (
                400,
                "InvalidParameter",
                "<400> InternalError.Algo.InvalidParameter: dimension for embedding v3 is invalid, "
                "its value should be in [64, 128, 256, 512, 768, 1024]",
            ),
        ),
        (
            ["a", "词" * 9000],
            V4,
            1024,
            (
                400,
                "InvalidParameter",
                "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 8192]",
            ),
        ),
        (
            ["a", " \n"],
            V4,
            1024,
            (
                400,
                "InvalidParameter",
                "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 8192]",
            ),
        ),
        (
            ["a"],
            "text-embedding-v9",
            1024,
            (404, "model_not_found", "The model `text-embedding-v9` does not exist or you do not have access to it."),
        ),
        (
            ["a"],
            "gte-rerank-v2",
            1024,
            (404, "model_not_supported", "Unsupported model `gte-rerank-v2` for OpenAI compatibility mode."),
        ),
    ],
    ids=["batch", "dimension", "length", "blank", "model", "unsupported model"],
)
def test_a_wrong_request_is_refused_whole_in_the_providers_words(
    simulator: Simulator, texts: list[str], model: str, dimensions: int, expected: tuple[int, str, str]
) -> None:
    assert refusal(simulator, texts, model, dimensions) == expected
    assert simulator.books.tokens_billed == 0


def test_token_ids_instead_of_texts_are_refused(simulator: Simulator) -> None:
    with client_of(simulator) as client, pytest.raises(openai.BadRequestError, match="neither str nor list of str"):
        client.embeddings.create(model=V4, input=[[1, 2, 3]], encoding_format="float")


def test_a_wrong_key_is_401(simulator: Simulator) -> None:
    with client_of(simulator, "sk-wrong") as client, pytest.raises(openai.AuthenticationError) as caught:
        client.embeddings.create(model=V4, input="a")
    assert (caught.value.code, caught.value.type) == ("invalid_api_key", "invalid_request_error")


def test_any_key_is_right_when_so_set(simulator: Simulator) -> None:
    simulator.change({"any_key": True})
    with client_of(simulator, "sk-whatever") as client:
        assert client.embeddings.create(model=V4, input="a").usage.total_tokens == 2


def test_an_over_long_text_is_cut_when_so_set(simulator: Simulator) -> None:
    simulator.change({"over_long": "truncate"})
    assert embed(simulator, ["词 " * 9000]).usage.total_tokens == 8192


def test_a_request_over_its_token_limit_is_refused(simulator: Simulator) -> None:
    simulator.change({"tokens_per_request": 20})
    assert embed(simulator, ["衣服的质量杠杠的"] * 3).usage.total_tokens == 18
    assert refusal(simulator, ["衣服的质量杠杠的"] * 4)[0] == 400


def test_one_text_under_inspection_refuses_its_whole_batch(simulator: Simulator) -> None:
    simulator.change({"inspection_words": ["FORBIDDEN"]})
    assert refusal(simulator, ["fine", "a FORBIDDEN word"])[:2] == (400, "data_inspection_failed")
    assert embed(simulator, ["fine"]).usage.total_tokens > 0


@pytest.mark.parametrize(("kind", "status"), [("inspection", 400), ("length", 400), ("internal_error", 500)])
def test_a_poisoned_text_is_refused_each_time(simulator: Simulator, kind: str, status: int) -> None:
    simulator.change({"poison_share": 0.2, "poison_as": kind})
    texts = [f"text {number}" for number in range(200)]
    poisoned = [text for text in texts if simulator.settings.is_poisoned(text)]
    assert 20 < len(poisoned) < 60
    for _ in range(2):
        assert refusal(simulator, poisoned[:1])[0] == status
    assert embed(simulator, [text for text in texts if text not in poisoned][:10]).data


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (Limits(requests_per_second=1, second_window="sliding"), "limit_requests"),
        (Limits(requests_per_minute=1, minute_window="sliding"), "limit_requests"),
        (Limits(tokens_per_minute=9, minute_window="sliding"), "insufficient_quota"),
        (Limits(growth_per_second=1), "limit_burst_rate"),
    ],
)
def test_each_limit_answers_429_with_its_code(start_simulator: StartSimulator, limits: Limits, code: str) -> None:
    simulator = start_simulator(SimulatorSettings(limits=limits))
    embed(simulator, ["衣服的质量杠杠的"])
    with pytest.raises(openai.RateLimitError) as caught:
        embed(simulator, ["衣服的质量杠杠的"])
    assert (caught.value.code, caught.value.type) == (code, code)
    assert "retry-after" not in caught.value.response.headers
    assert simulator.books.throttled == {Reason(code): 1}


def test_retry_after_comes_when_so_set(start_simulator: StartSimulator) -> None:
    limits = Limits(requests_per_minute=1, minute_window="sliding")
    simulator = start_simulator(SimulatorSettings(limits=limits, retry_after_s=7))
    embed(simulator, ["a"])
    with pytest.raises(openai.RateLimitError) as caught:
        embed(simulator, ["a"])
    assert caught.value.response.headers["retry-after"] == "7"


def test_keys_of_one_account_share_its_limit_and_others_do_not(start_simulator: StartSimulator) -> None:
    limits = Limits(requests_per_minute=1, minute_window="sliding")
    keys = {"sk-one": "first", "sk-two": "first", "sk-three": "second"}
    simulator = start_simulator(SimulatorSettings(limits=limits, keys=keys))
    outcomes = []
    for key in keys:
        with client_of(simulator, key) as client:
            try:
                client.embeddings.create(model=V4, input="a")
            except openai.RateLimitError:
                outcomes.append("refused")
            else:
                outcomes.append("answered")
    assert outcomes == ["answered", "refused", "answered"]


def test_the_books_tell_bought_from_sent_and_again_from_once(simulator: Simulator) -> None:
    simulator.change({"limits": {"requests_per_minute": 3, "minute_window": "sliding"}})
    embed(simulator, ["a", "b"])
    embed(simulator, ["b", "c"])
    embed(simulator, ["b"], V4, 64)
    refusal(simulator, ["a"])
    books = simulator.books
    assert (books.requests, books.answered, books.largest_batch, books.peak_concurrency) == (4, 3, 2, 1)
    assert (books.texts_sent, books.texts_bought, books.texts_bought_again) == (6, 5, 1)
    assert books.text("a") == TextCount(sent=2, bought=1)
    assert books.text("b", (V4, 64)) == TextCount(sent=1, bought=1)
    assert books.text("b") == TextCount(sent=3, bought=3)
    assert books.tokens_billed == 10
    assert sum(second.requests for second in books.by_second) == 4


def test_the_composed_and_the_decomposed_form_are_two_entries_in_the_books(simulator: Simulator) -> None:
    embed(simulator, [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")])
    assert simulator.books.texts_distinct == 2
