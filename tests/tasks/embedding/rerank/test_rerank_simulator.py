"""Reranking against the simulated provider, which checks, counts, bills and fails as the real one does."""

from __future__ import annotations

import random

import pytest

from millrace.tasks.embedding import Ranked, Reranker, Reranking, find_reranker, make_reranker, rerank_url
from millrace.tasks.embedding.providers.client import BilledInvalidResponse, LostAnswer
from millrace.tasks.errors import MillraceError, ProviderStopped, ProviderUnavailable, Throttled
from tests.simulator.faults import Damage, Fault, scripted
from tests.simulator.model.ranking import expected_scores
from tests.simulator.model.tokens import bpe_tokens
from tests.simulator.refusals import Reason
from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY

QUERY = "How is an order refunded?"
WORDS = "order refund open press house letter week gate mill 退款 订单 sluice water rises".split()
MODELS = [("qwen3-rerank", "compatible"), ("qwen3-rerank", "native"), ("gte-rerank-v2", "native")]
# What each kind of server is called in the settings: provider, model, and its root below the simulator's.
OTHERS = {
    "iflytek": ("iflytek", "s7c31fe02", "/iflytek/v1"),
    "vllm": ("openai", "BAAI/bge-reranker-v2-m3", "/openai/v1"),
    "tei": ("openai", "BAAI/bge-reranker-v2-m3", "/openai"),
}


def passages(count: int, words: int = 20) -> list[str]:
    drawn = random.Random(count)
    return [f"{number}: {' '.join(drawn.choices(WORDS, k=words))}" for number in range(count)]


def reranker_of(simulator: Simulator, model: str = "", api: str = "compatible", **options: object) -> Reranker:
    spec = find_reranker("dashscope", model, api=api)
    url = rerank_url(spec, embedding_base_url=simulator.base_url)
    given = {"base_url": url, "api_key": API_KEY, "count": bpe_tokens, "timeout_s": 20.0, **options}
    return make_reranker(spec, **given)  # type: ignore[arg-type]


def other_of(simulator: Simulator, kind: str, **options: object) -> Reranker:
    provider, model, root = OTHERS[kind]
    spec = find_reranker(provider, model)
    given = {"base_url": rerank_url(spec, base_url=simulator.root_url + root), "timeout_s": 20.0, **options}
    return make_reranker(spec, api_key=API_KEY if provider == "iflytek" else "", **given)  # type: ignore[arg-type]


async def reranked(reranker: Reranker, documents: list[str], top_n: int = 5) -> Reranking:
    try:
        return await reranker.rerank(QUERY, documents, top_n=top_n)
    finally:
        await reranker.close()


def expected(documents: list[str], top_n: int, instruct: str = "") -> tuple[Ranked, ...]:
    scores = expected_scores(QUERY, documents, instruct)
    return tuple(sorted((Ranked(*one) for one in enumerate(scores)), key=lambda one: (-one.score, one.index))[:top_n])


@pytest.mark.parametrize(("model", "api"), MODELS)
@pytest.mark.parametrize("shuffled", [False, True])
async def test_the_best_come_first_each_with_its_own_score(
    simulator: Simulator, model: str, api: str, shuffled: bool
) -> None:
    simulator.change({"shuffled": shuffled})
    answer = await reranked(reranker_of(simulator, model, api), passages(20))
    assert answer.ranked == expected(passages(20), 5)
    assert answer.notices == ()
    assert answer.billed_tokens == simulator.books.rerank.tokens_billed > 0


@pytest.mark.parametrize("api", ["compatible", "native"])
async def test_an_instruction_reaches_the_model(simulator: Simulator, api: str) -> None:
    answer = await reranked(reranker_of(simulator, "", api, instruct="Prefer policies"), passages(20))
    assert answer.ranked == expected(passages(20), 5, "Prefer policies")


@pytest.mark.parametrize(
    ("model", "api", "count", "words"),
    [
        ("qwen3-rerank", "compatible", 1_200, 20),  # more documents than 500
        ("qwen3-rerank", "native", 100, 1_500),  # more tokens than 120,000
        ("gte-rerank-v2", "native", 40, 1_500),  # more than 30,000
    ],
)
async def test_what_does_not_fit_one_request_gets_the_same_places_and_no_request_passes_a_limit(
    simulator: Simulator, model: str, api: str, count: int, words: int
) -> None:
    documents = passages(count, words)
    answer = await reranked(reranker_of(simulator, model, api), documents)
    books = simulator.books.rerank
    assert answer.ranked == expected(documents, 5)
    assert answer.billed_tokens == books.tokens_billed
    assert books.requests == books.answered > 1
    assert books.largest_request_tokens <= find_reranker("dashscope", model, api=api).tokens_per_request
    (notice,) = answer.notices
    assert f"sent in {books.requests} requests" in notice


async def test_what_the_provider_would_cut_in_silence_is_cut_by_us_with_a_notice(simulator: Simulator) -> None:
    documents = ["water " * 5_000 + QUERY, "An order."]
    answer = await reranked(reranker_of(simulator), documents)
    assert answer.ranked == expected(documents, 5)
    (notice,) = answer.notices
    assert notice.startswith("qwen3-rerank takes 4,000 tokens of a document; cut: documents[0] by 6,0")


async def test_a_limit_that_is_lower_than_we_think_is_learnt_from_the_refusal(simulator: Simulator) -> None:
    documents = passages(100, 1_000)
    reranker = reranker_of(simulator, "", "native", count=lambda text: bpe_tokens(text) // 4)
    answer = await reranked(reranker, documents)
    assert answer.ranked == expected(documents, 5)
    assert "sent again in smaller requests" in answer.notices[0]
    assert answer.billed_tokens == simulator.books.rerank.tokens_billed


async def test_asked_again_after_a_failure_nothing_that_was_answered_is_paid_twice(simulator: Simulator) -> None:
    documents = passages(100, 1_000)
    reranker = reranker_of(simulator)
    simulator.change({"faults": [{"fault": "internal_error", "numbers": [2]}]})
    with pytest.raises(ProviderUnavailable):
        await reranker.rerank(QUERY, documents, top_n=5)
    assert simulator.books.rerank.answered == 1
    simulator.change({"faults": []})
    answer = await reranker.rerank(QUERY, documents, top_n=5)
    await reranker.close()
    assert answer.ranked == expected(documents, 5)
    assert answer.billed_tokens == simulator.books.rerank.tokens_billed
    assert f"sent in {simulator.books.rerank.answered} requests" in answer.notices[0]


async def test_a_limit_that_nobody_knew_is_kept_to_once_it_has_refused(simulator: Simulator) -> None:
    simulator.change({"openai": {"limits": {"requests_per_second": 10}}})
    reranker = other_of(simulator, "vllm")
    refused, answered = 0, 0
    while answered < 20:
        try:
            await reranker.rerank(f"{QUERY} {answered}", ["A mill.", "A sluice."], top_n=1)
            answered += 1
        except Throttled:
            refused += 1
    await reranker.close()
    assert refused < answered  # without a pause between tries; sent again at once it would be hundreds


@pytest.mark.parametrize("api", ["compatible", "native"])
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Reason.LIMIT_REQUESTS, Throttled),
        (Reason.INSUFFICIENT_QUOTA, Throttled),
        (Reason.LIMIT_BURST_RATE, Throttled),
        (Reason.ARREARAGE, ProviderStopped),
        (Reason.FREE_QUOTA_429, ProviderStopped),
        (Reason.INTERNAL_ERROR, ProviderUnavailable),
        (Reason.MODEL_UNAVAILABLE, ProviderUnavailable),
        (Reason.HTML_502, ProviderUnavailable),
        (Damage.DROP, LostAnswer),
        (Damage.RESET, LostAnswer),
        (Damage.HANG, LostAnswer),
        (Damage.TRUNCATED, BilledInvalidResponse),
        (Damage.EMPTY_DATA, BilledInvalidResponse),
        (Damage.MISSING_ITEM, BilledInvalidResponse),
        (Damage.EXTRA_ITEM, BilledInvalidResponse),
        (Damage.DOUBLED_INDEX, BilledInvalidResponse),
        (Damage.WRONG_DIMENSION, BilledInvalidResponse),
        (Damage.NAN_VECTOR, BilledInvalidResponse),
        (Damage.ZERO_VECTOR, BilledInvalidResponse),
        (Damage.NULL_EMBEDDING, BilledInvalidResponse),
    ],
)
async def test_every_fault_is_what_it_is_and_the_next_try_may_succeed(
    simulator: Simulator, api: str, fault: Fault, kind: type[MillraceError]
) -> None:
    simulator.change({"faults": [rule.model_dump() for rule in scripted(fault)]})
    reranker = reranker_of(simulator, "", api, timeout_s=1.0 if fault is Damage.HANG else 20.0)
    with pytest.raises(MillraceError) as caught:
        await reranker.rerank(QUERY, passages(5), top_n=3)
    assert type(caught.value) is kind
    assert (await reranked(reranker, passages(5), 3)).ranked == expected(passages(5), 3)


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("shuffled", [False, True])
async def test_servers_of_every_kind_rank_alike(simulator: Simulator, kind: str, shuffled: bool) -> None:
    simulator.change({"shuffled": shuffled, "openai": {"returned_documents": "always"}})
    answer = await reranked(other_of(simulator, kind), passages(20))
    assert answer.ranked == expected(passages(20), 5)
    assert answer.billed_tokens == (0 if kind == "tei" else simulator.books.rerank.tokens_billed)
    assert answer.notices == ()


@pytest.mark.parametrize(
    ("kind", "flavour", "limits"),
    [
        ("iflytek", "vllm", {"iflytek": {"documents_per_request": 32}}),  # refused without a word
        ("tei", "tei", {}),
        ("tei", "tei", {"openai": {"tei_validation_status": 422}}),
        ("vllm", "openai", {}),
        ("vllm", "fastapi", {}),
    ],
)
async def test_a_limit_that_nobody_has_published_is_learnt(
    simulator: Simulator, kind: str, flavour: str, limits: dict[str, dict[str, object]]
) -> None:
    simulator.change({"openai": {"flavour": flavour, "texts_per_request": 32}})
    simulator.change(limits)
    documents = passages(100)
    answer = await reranked(other_of(simulator, kind), documents)
    assert answer.ranked == expected(documents, 5)
    assert "sent again in smaller requests" in answer.notices[0]


async def test_a_server_of_ones_own_is_asked_to_cut_what_its_model_cannot_read(simulator: Simulator) -> None:
    simulator.change({"openai": {"flavour": "tei", "tokens_per_text": 200}})
    documents = ["water " * 500, "An order is refunded."]
    answer = await reranked(other_of(simulator, "tei"), documents)
    assert [one.index for one in answer.ranked] == [1, 0]
    assert "must have less than 200 tokens" in answer.notices[0]
    assert answer.notices[1].startswith("the server was told to cut")


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Reason.LIMIT_REQUESTS, Throttled),
        (Reason.WRONG_KEY, ProviderStopped),
        (Reason.INTERNAL_ERROR, ProviderUnavailable),
        (Reason.MODEL_UNAVAILABLE, ProviderUnavailable),
        (Damage.RESET, LostAnswer),
        (Damage.TRUNCATED, BilledInvalidResponse),
        (Damage.MISSING_ITEM, BilledInvalidResponse),
        (Damage.DOUBLED_INDEX, BilledInvalidResponse),
        (Damage.NAN_VECTOR, BilledInvalidResponse),
    ],
)
async def test_servers_of_every_kind_fail_alike(
    simulator: Simulator, kind: str, fault: Fault, error: type[MillraceError]
) -> None:
    simulator.change({"faults": [rule.model_dump() for rule in scripted(fault)]})
    reranker = other_of(simulator, kind)
    with pytest.raises(MillraceError) as caught:
        await reranker.rerank(QUERY, passages(5), top_n=3)
    assert type(caught.value) is error
    assert (await reranked(reranker, passages(5), 3)).ranked == expected(passages(5), 3)


async def test_teis_rerank_is_not_below_v1_and_the_message_says_so(simulator: Simulator) -> None:
    simulator.change({"openai": {"flavour": "tei"}})
    with pytest.raises(ProviderStopped, match="for TEI below the root of the host"):
        await reranked(other_of(simulator, "vllm"), passages(3))


async def test_a_model_that_a_server_has_not_is_named(simulator: Simulator) -> None:
    spec = find_reranker("openai", "no-such")
    reranker = make_reranker(spec, base_url=rerank_url(spec, base_url=f"{simulator.root_url}/openai/v1"))
    with pytest.raises(ProviderStopped, match=r"`no-such` does not exist.*check rerank\.model"):
        await reranked(reranker, passages(3))


async def test_an_empty_wallet_stops_where_it_is_one(simulator: Simulator) -> None:
    simulator.change({"openai": {"flavour": "openai", "wallet_empty": True}})
    with pytest.raises(ProviderStopped, match="pay the bill"):
        await reranked(other_of(simulator, "vllm"), passages(3))


async def test_a_wrong_key_stops_with_the_setting_that_names_it(simulator: Simulator) -> None:
    with pytest.raises(ProviderStopped, match=r"rerank\.api_key_env"):
        await reranked(reranker_of(simulator, api_key="sk-wrong"), passages(3))
