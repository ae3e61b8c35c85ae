"""Reranking over HTTP in every dialect: what is sent, what comes back, what is said of what was not done as asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from millrace.tasks.embedding import Ranked, Reranker, Reranking, find_reranker, make_reranker, rerank_url
from millrace.tasks.embedding.providers.client import BilledInvalidResponse, LostAnswer, Unreachable
from millrace.tasks.errors import (
    ConfigurationError,
    MillraceError,
    ProviderStopped,
    ProviderUnavailable,
    TextsRefused,
    Throttled,
)
from tests.tasks.embedding.rerank.servers import Reply, RerankServer, dashscope, iflytek, running, score_of, tei, vllm

QUERY = "sluice"
DOCUMENTS = ["a mill", "sluice", "gate", "slice", "mill"]
BEST = (1, 3, 0, 4, 2)
MODELS = {
    "compatible": ("dashscope", "qwen3-rerank", "compatible"),
    "native": ("dashscope", "gte-rerank-v2", "native"),
    "iflytek": ("iflytek", "sde0a5839", "compatible"),
    "openai": ("openai", "bge-reranker-v2-m3", "compatible"),
}


def reranker_at(server: RerankServer, kind: str, *, path: str = "/v1", **options: Any) -> Reranker:
    provider, model, api = MODELS[kind]
    spec = find_reranker(provider, model, api=api)
    url = rerank_url(spec, embedding_base_url=server.url + path)
    return make_reranker(spec, **{"base_url": url, "api_key": "sk-test", "timeout_s": 5.0, **options})


async def reranked(server: RerankServer, kind: str, *, path: str = "/v1", top_n: int = 5, **options: Any) -> Reranking:
    documents = options.pop("documents", DOCUMENTS)
    reranker = reranker_at(server, kind, path=path, **options)
    try:
        return await reranker.rerank(QUERY, documents, top_n=top_n)
    finally:
        await reranker.close()


async def failure(reply: Callable[[str, Any], Reply], kind: str = "compatible", **options: Any) -> MillraceError:
    with running(reply) as server, pytest.raises(MillraceError) as caught:
        await reranked(server, kind, **options)
    return caught.value


def expected(*indices: int) -> tuple[Ranked, ...]:
    return tuple(Ranked(index, score_of(QUERY, DOCUMENTS[index])) for index in indices)


@pytest.mark.parametrize(
    ("kind", "speaks", "path", "billed"),
    [
        ("compatible", dashscope, "/compatible-mode/v1", 50),
        ("native", dashscope, "/compatible-mode/v1", 50),
        ("iflytek", iflytek, "/v1", 90),
        ("openai", vllm, "/v1", 7),
        ("openai", vllm, "/v2", 7),
        ("openai", vllm, "/rerank", 7),
        ("openai", tei, "/rerank", 0),
    ],
)
@pytest.mark.parametrize("top_n", [1, 3, 5, 20])
async def test_every_dialect_gives_the_best_first(
    kind: str, speaks: Callable[[str, Any], Reply], path: str, billed: int, top_n: int
) -> None:
    with running(speaks) as server:
        answer = await reranked(server, kind, path=path, top_n=top_n)
    assert answer == Reranking(expected(*BEST[:top_n]), billed, ())
    assert len(server.requests) == 1


async def test_what_dashscope_is_sent() -> None:
    with running(dashscope) as server:
        await reranked(server, "compatible", top_n=2, instruct="Find the gate.")
        await reranked(server, "native", top_n=2)
    assert server.requests == [
        (
            "/compatible-api/v1/reranks",
            {"model": "qwen3-rerank", "query": QUERY, "documents": DOCUMENTS, "top_n": 2, "instruct": "Find the gate."},
            "Bearer sk-test",
        ),
        (
            "/api/v1/services/rerank/text-rerank/text-rerank",
            {
                "model": "gte-rerank-v2",
                "input": {"query": QUERY, "documents": DOCUMENTS},
                "parameters": {"top_n": 2, "return_documents": False},
            },
            "Bearer sk-test",
        ),
    ]


async def test_a_server_of_ones_own_needs_no_key() -> None:
    with running(vllm) as server:
        await reranked(server, "openai", api_key="")
    assert server.requests[0][2] is None


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("iflytek", {"instruct": "Find it."}, "rerank.instruct is set, and sde0a5839 of iflytek takes no instruction"),
        ("native", {"instruct": "Find it."}, "gte-rerank-v2 of dashscope takes no instruction"),
        ("compatible", {"api_key": " "}, "needs an API key in the variable that rerank.api_key_env"),
        ("iflytek", {"api_key": ""}, "needs an API key"),
        ("compatible", {"api_key": "ключ"}, "rerank.api_key_env"),
    ],
)
async def test_what_cannot_work_is_refused_before_anything_is_sent(
    kind: str, options: dict[str, str], words: str
) -> None:
    with running(dashscope) as server, pytest.raises(ConfigurationError) as caught:
        reranker_at(server, kind, **options)
    assert words in str(caught.value)
    assert server.requests == []


async def test_a_search_for_nothing_is_refused() -> None:
    with running(dashscope) as server:
        reranker = reranker_at(server, "compatible")
        with pytest.raises(ConfigurationError, match="must be at least 1"):
            await reranker.rerank(QUERY, DOCUMENTS, top_n=0)
        with pytest.raises(ConfigurationError, match="the query is blank"):
            await reranker.rerank(" ", DOCUMENTS, top_n=5)
        await reranker.close()
    assert server.requests == []


async def test_no_documents_cost_nothing() -> None:
    with running(dashscope) as server:
        assert await reranked(server, "compatible", documents=[]) == Reranking((), 0, ())
    assert server.requests == []


async def test_blank_documents_come_last_and_are_not_sent() -> None:
    with running(dashscope) as server:
        answer = await reranked(server, "compatible", documents=[" ", *DOCUMENTS, ""], top_n=7)
    assert [one.index for one in answer.ranked] == [*(index + 1 for index in BEST), 0, 6]
    assert [one.score for one in answer.ranked] == sorted((one.score for one in answer.ranked), reverse=True)
    assert answer.notices == ("blank, so not sent, and ranked last: documents[0], documents[6]",)
    assert server.bodies[0]["documents"] == DOCUMENTS


async def test_blank_documents_alone_are_not_asked_about() -> None:
    with running(dashscope) as server:
        answer = await reranked(server, "compatible", documents=["", " "], top_n=1)
    assert (answer.ranked, answer.billed_tokens) == ((Ranked(0, 0.0),), 0)
    assert server.requests == []


async def test_the_same_text_is_paid_for_once_and_ranked_at_each_of_its_places() -> None:
    with running(dashscope) as server:
        answer = await reranked(server, "compatible", documents=["mill", "sluice", "mill", "sluice"], top_n=3)
    assert server.bodies[0]["documents"] == ["mill", "sluice"]
    assert [one.index for one in answer.ranked] == [1, 3, 0]


async def test_more_documents_than_a_request_takes_are_asked_about_in_several_with_a_notice() -> None:
    documents = [f"{'sluice'[: number % 7]} {number}" for number in range(1_100)]
    with running(dashscope) as server:
        answer = await reranked(server, "compatible", documents=documents)
    best = sorted(range(1_100), key=lambda index: (-score_of(QUERY, documents[index]), index))[:5]
    assert [one.index for one in answer.ranked] == best
    assert [len(body["documents"]) for body in server.bodies] == [500, 500, 110]
    assert answer.billed_tokens == 10 * 1_110
    assert answer.notices == (
        "1,100 documents do not fit into one request to qwen3-rerank (500 documents, 120,000 tokens): sent in 3 "
        "requests, the best of each together with the next",
    )


async def test_the_querys_tokens_count_with_each_document() -> None:
    documents = [f"{number:03} {'x' * 996}" for number in range(40)]
    with running(dashscope) as server:
        reranker = reranker_at(server, "native")
        answer = await reranker.rerank("q" * 1_000, documents, top_n=2)
        await reranker.close()
    # 30,000 tokens, here bytes, are 15 documents of 1,000 with a query of 1,000 each.
    assert [len(body["input"]["documents"]) for body in server.bodies] == [15, 15, 14]
    assert [one.index for one in answer.ranked] == [0, 1]


async def test_more_results_than_a_request_holds_come_in_parts_that_the_notice_names() -> None:
    documents = [f"{'sluice'[: number % 7]} {number}" for number in range(700)]
    with running(dashscope) as server:
        answer = await reranked(server, "compatible", documents=documents, top_n=700)
    best = sorted(range(700), key=lambda index: (-score_of(QUERY, documents[index]), index))
    assert [one.index for one in answer.ranked] == best
    assert answer.notices[0].endswith("scores can be compared only within the first 250, the next 450 and so on")


async def test_a_tokenizer_keeps_what_bytes_would_cut() -> None:
    documents = ["衣" * 2_000, "服" * 5_000]
    with running(dashscope) as server:
        answer = await reranked(server, "compatible", documents=documents, count=len)
        bounded = await reranked(server, "compatible", documents=documents)
    assert [len(text) for body in server.bodies for text in body["documents"]] == [2_000, 4_000, 1_333, 1_333]
    assert answer.notices == (
        "qwen3-rerank takes 4,000 tokens of a document; cut: documents[1] by 1,000 characters (5,000 tokens)",
    )
    assert "documents[0] by 667 characters (6,000 bytes)" in bounded.notices[0]


async def test_a_server_that_takes_fewer_documents_is_asked_for_fewer_from_then_on() -> None:
    documents = [f"{'sluice'[: number % 7]} {number}" for number in range(100)]
    with running(tei) as server:
        reranker = reranker_at(server, "openai", path="/rerank")
        answer = await reranker.rerank(QUERY, documents, top_n=3)
        refused = [len(body["texts"]) for body in server.bodies if len(body["texts"]) > 32]
        await reranker.rerank(QUERY, documents, top_n=3)
        await reranker.close()
    best = sorted(range(100), key=lambda index: (-score_of(QUERY, documents[index]), index))[:3]
    assert [one.index for one in answer.ranked] == best
    assert refused == [100, 50]
    assert [len(body["texts"]) for body in server.bodies].count(100) == 1
    assert "batch size 100 > maximum allowed batch size 32" in answer.notices[0]
    assert "do not fit into one request to bge-reranker-v2-m3 (25 documents)" in answer.notices[-1]


async def test_a_server_that_cannot_read_a_document_whole_is_asked_to_cut_it_with_a_notice_each_time() -> None:
    with running(tei) as server:
        reranker = reranker_at(server, "openai", path="/rerank")
        first = await reranker.rerank(QUERY, ["mill", "sluice gates and weirs"], top_n=1)
        again = await reranker.rerank(QUERY, ["mill", "sluice"], top_n=1)
        await reranker.close()
    assert [one.index for one in (*first.ranked, *again.ranked)] == [1, 1]
    assert [body.get("truncate") for body in server.bodies] == [None, True, True]
    assert "must have less than 9 tokens. Given: 22" in first.notices[0]
    asked_to_cut = "the server was told to cut texts that are too long for bge-reranker-v2-m3; it does not say which"
    assert first.notices[1:] == again.notices == (asked_to_cut,)


async def test_what_two_documents_alone_are_refused_for_is_raised() -> None:
    words = "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 4000]"
    refused = {"error": {"message": words, "type": "InvalidParameter", "param": None, "code": "InvalidParameter"}}
    error = await failure(lambda path, body: (400, refused), documents=["a", "b"])
    assert isinstance(error, TextsRefused)
    assert error.reason == "text_too_long"


async def test_an_answer_without_a_bill_is_used_and_the_notice_says_so() -> None:
    def free(path: str, body: Any) -> Reply:
        status, answer = dashscope(path, body)
        del answer["usage"]
        return status, answer

    with running(free) as server:
        answer = await reranked(server, "compatible")
    notice = (
        "qwen3-rerank did not report the cost of 1 of 1 requests, or not a plausible one; our own count stands for it"
    )
    assert answer == Reranking(expected(*BEST), 55, (notice,))


def refusal(code: str, message: str = "no") -> dict[str, Any]:
    return {"code": code, "message": message, "request_id": "fb53"}


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (429, refusal("Throttling.RateQuota"), Throttled, "Throttling.RateQuota"),
        (429, {"error": {"code": "limit_burst_rate", "message": "x"}}, Throttled, "limit_burst_rate"),
        (500, refusal("InternalError"), ProviderUnavailable, "InternalError"),
        (503, "引擎过载", ProviderUnavailable, "503"),
        (424, {"error": "cuda", "error_type": "Backend"}, ProviderUnavailable, "424"),
        (
            400,
            refusal("Arrearage", "Access denied, please make sure your account is in good standing."),
            ProviderStopped,
            "pay",
        ),
        (401, refusal("InvalidApiKey"), ProviderStopped, "rerank.api_key_env"),
        (404, "not here", ProviderStopped, "rerank.base_url"),
        (404, refusal("ModelNotFound"), ProviderStopped, "rerank.model"),
        (404, {"error": {"message": "The model `m` does not exist.", "code": 404}}, ProviderStopped, "rerank.model"),
        (400, refusal("DataInspectionFailed"), TextsRefused, "DataInspectionFailed"),
        (400, refusal("InvalidParameter"), TextsRefused, "InvalidParameter"),
        (200, refusal("InternalError"), ProviderUnavailable, "InternalError"),
        (200, "<html>", Unreachable, "rerank.base_url"),
        (200, '{"results": [', BilledInvalidResponse, "not complete JSON"),
        (
            200,
            {"results": [], "usage": {"total_tokens": 9}},
            BilledInvalidResponse,
            "0 results came (request request-1)",
        ),
    ],
)
async def test_every_failure_comes_in_words_of_reranking(
    status: int, body: Any, kind: type[MillraceError], words: str
) -> None:
    error = await failure(lambda *_: (status, body))
    assert type(error) is kind
    assert words in str(error)
    assert "embedding.base_url" not in str(error)
    assert "chunk" not in str(error)
    assert not isinstance(error, TextsRefused) or "rerank.provider" in error.remedy


async def test_nobody_there_names_the_setting() -> None:
    with running(dashscope) as server:
        reranker = reranker_at(server, "compatible")
    with pytest.raises(Unreachable, match=r"check rerank\.base_url"):
        await reranker.rerank(QUERY, DOCUMENTS, top_n=5)
    await reranker.close()


async def test_a_client_hides_its_key() -> None:
    with running(dashscope) as server:
        reranker = reranker_at(server, "compatible", api_key="sk-0123456789")
        assert "sk-0123456789" not in repr(reranker)
        await reranker.close()


def test_a_lost_answer_is_known_as_one() -> None:
    assert issubclass(LostAnswer, ProviderUnavailable)
