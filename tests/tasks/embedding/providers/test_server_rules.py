"""What servers say when they refuse, in the words that their sources and users quote."""

from __future__ import annotations

import pytest

from millrace.tasks.embedding.providers.error_rules import (
    DASHSCOPE_RULES,
    SERVER_RULES,
    STATUS_RULES,
    error_for,
    read_refusal,
)
from millrace.tasks.errors import (
    ConfigurationError,
    MillraceError,
    ProviderStopped,
    ProviderUnavailable,
    TextsRefused,
    Throttled,
)


def translated(status: int, body: object) -> MillraceError:
    return error_for(read_refusal(status, body), target="bge-m3 at http://h/v1", rules=SERVER_RULES)


def inner(message: str, code: object = None) -> dict[str, object]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        # vLLM before and after its errors were put under "error", and its newer wordings
        (400, {"object": "error", "message": "This model's maximum context length is 512 tokens. However, you requested 1451 tokens in the input for embedding generation. Please reduce the length of the input.", "type": "BadRequestError", "param": None, "code": 400}),
        (400, inner("max context 8192 tokens, the prompt had at least 8193", 400)),
        (400, inner("The decoder prompt (length 8193) is longer than the maximum model length of 8192.", 400)),
        # TEI by its own source, and behind gateways
        (413, {"message": "Input validation error: `inputs` must have less than 512 tokens. Given: 600", "code": 413, "type": "Validation"}),
        (422, {"error": "`inputs` must have less than 8192 tokens. Given: 9000", "error_type": "Validation"}),
        # Ollama, and llama.cpp, which says 500 for what no waiting heals
        (400, {"error": "the input length exceeds the context length"}),
        (400, inner("input length exceeds maximum context length")),
        (500, {"error": {"code": 500, "message": "input (103 tokens) is too large to process. increase the physical batch size (current batch size: 30)", "type": "server_error"}}),
        (400, inner("the request exceeds the available context size, try increasing it")),
        # OpenAI
        (400, inner("Invalid 'input[0]': maximum input length is 8192 tokens.")),
        (400, inner("This model's maximum context length is 8192 tokens, however you requested 9100 tokens (9100 in your prompt; 0 for the completion). Please reduce your prompt; or completion length.", "context_length_exceeded")),
    ],
)  # fmt: skip
def test_a_text_that_is_too_long_is_refused_and_no_other(status: int, body: object) -> None:
    error = translated(status, body)
    assert isinstance(error, TextsRefused)
    assert error.reason == "text_too_long"
    assert "embedding.tokenizer" in error.remedy


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (422, {"error": "batch size 33 > maximum allowed batch size 32", "error_type": "Validation"}),
        (413, {"message": "batch size 33 > maximum allowed batch size 32", "code": 413, "type": "Validation"}),
        (413, {"code": 20042, "message": "input batch size 136 > maximum allowed batch size 64", "data": None}),
        (400, inner("Invalid 'input': array too long. Expected an array with maximum length 2048, but got an array with length 3000 instead.")),
        (422, {"detail": [{"type": "too_long", "loc": ["body", "input"], "msg": "List should have at most 2048 items after validation, not 3000"}]}),
    ],
)  # fmt: skip
def test_too_many_texts_are_a_wrong_setting(status: int, body: object) -> None:
    error = translated(status, body)
    assert isinstance(error, ConfigurationError)
    assert "lower limits.texts_per_request" in str(error)


@pytest.mark.parametrize(
    "message",
    [
        'Model "bge-m3" does not support matryoshka representation, changing output dimensions will lead to poor results.',
        "dimensions is currently not supported",
        "This model does not support specifying dimensions.",
    ],
)
def test_dimensions_that_are_not_taken_are_a_wrong_setting(message: str) -> None:
    error = translated(400, {"object": "error", "message": message, "type": "BadRequestError", "code": 400})
    assert isinstance(error, ConfigurationError)
    assert 'embedding.ask_dimensions = "never"' in str(error)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"object": "error", "message": "The model `nowhere` does not exist.", "type": "NotFoundError", "code": 404}),
        (404, inner('model "nowhere" not found, try pulling it first')),
        (400, {"detail": "Model not found in the model list, uid: nowhere"}),
        (404, inner("The model `nowhere` does not exist or you do not have access to it.", "model_not_found")),
        (400, inner("The model does not support Embeddings API", 400)),
        (501, inner("This server does not support embeddings. Start it with `--embeddings`")),
    ],
)  # fmt: skip
def test_a_model_that_is_not_there_or_makes_no_embeddings_stops(status: int, body: object) -> None:
    error = translated(status, body)
    assert isinstance(error, ProviderStopped)
    assert "embedding.model" in str(error)


@pytest.mark.parametrize(
    ("message", "code", "limit"),
    [
        ("Rate limit reached for text-embedding-3-small in organization org-x on tokens per min (TPM): Limit 1000000.", "rate_limit_exceeded", "tokens"),
        ("Rate limit reached for text-embedding-3-small in organization org-x on requests per min (RPM): Limit 3000.", "rate_limit_exceeded", "requests"),
        ("Model is overloaded", None, "unknown"),
    ],
)  # fmt: skip
def test_a_429_that_means_rate_says_which_limit(message: str, code: str | None, limit: str) -> None:
    error = translated(429, inner(message, code))
    assert isinstance(error, Throttled)
    assert error.limit == limit


QUOTA = inner("You exceeded your current quota, please check your plan and billing details.", "insufficient_quota")


def test_an_empty_wallet_stops_here_and_only_slows_down_on_dashscope() -> None:
    assert isinstance(translated(429, QUOTA), ProviderStopped)
    assert isinstance(error_for(read_refusal(429, QUOTA), target="v4", rules=DASHSCOPE_RULES), Throttled)


def test_a_request_that_is_too_large_is_split() -> None:
    error = translated(400, inner("Requested 331250 tokens, max 300000 tokens per request", "max_tokens_per_request"))
    assert isinstance(error, TextsRefused)
    assert error.reason == "request_too_large"


@pytest.mark.parametrize("status", [424, 500, 502, 503, 504])
def test_trouble_of_the_server_is_waited_for(status: int) -> None:
    assert type(translated(status, {"error": "the backend failed", "error_type": "Backend"})) is ProviderUnavailable


def test_a_status_that_is_repeated_as_the_code_is_not_said_twice() -> None:
    assert read_refusal(400, {"object": "error", "message": "No.", "code": 400}).words == "HTTP 400: No."
    assert read_refusal(422, {"detail": "No."}).words == "HTTP 422: No."


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, ProviderStopped),
        (403, ProviderStopped),
        (404, ProviderStopped),
        (429, Throttled),
        (500, ProviderUnavailable),
        (503, ProviderUnavailable),
        (400, TextsRefused),
    ],
)
def test_where_only_statuses_are_known_words_decide_nothing(status: int, kind: type[MillraceError]) -> None:
    body = {"code": "Arrearage", "message": "dimension, batch size is invalid, Free allocated quota exceeded."}
    error = error_for(read_refusal(status, body), target="s1", rules=STATUS_RULES)
    assert type(error) is kind
    assert not isinstance(error, Throttled) or error.limit == "unknown"
