from __future__ import annotations

import doctest

import pytest

from millrace.tasks.embedding.providers import error_rules as module
from millrace.tasks.embedding.providers.client import BilledInvalidResponse
from millrace.tasks.embedding.providers.error_rules import error_for, is_refusal, read_refusal
from millrace.tasks.errors import (
    ConfigurationError,
    MillraceError,
    ProviderStopped,
    ProviderUnavailable,
    TextsRefused,
    Throttled,
)

TOO_LONG = "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 8192]"
TOO_MANY = "<400> InternalError.Algo.InvalidParameter: Value error, batch size is invalid, it should not be larger than 10.: input.contents"
DIMENSION = "dimension for embedding v3 is invalid, its value should be in [64, 128, 256, 512, 768, 1024]"
TOKEN_ARRAYS = (
    "<400> InternalError.Algo.InvalidParameter: Value error, contents is neither str nor list of str.: input.contents"
)


def translated(status: int, code: str, message: str) -> MillraceError:
    body = {"error": {"code": code, "message": message, "type": code, "param": None}, "request_id": "318cff27"}
    return error_for(read_refusal(status, body), target="text-embedding-v4 at http://h/v1")


@pytest.mark.parametrize(
    ("status", "code", "message", "limit"),
    [
        (429, "limit_requests", "You exceeded your current requests list.", "requests"),
        (429, "Throttling.RateQuota", "Requests rate limit exceeded, please try again later.", "requests"),
        (429, "Throttling", "", "requests"),
        (429, "LimitRequests", "", "requests"),
        (429, "insufficient_quota", "You exceeded your current quota, please check your plan and billing details.", "tokens"),
        (429, "Throttling.AllocationQuota", "Allocated quota exceeded, please increase your quota limit.", "tokens"),
        (429, "limit_burst_rate", "Request rate increased too quickly.", "growth"),
        (429, "Throttling.BurstRate", "", "growth"),
        (429, "", "Too many requests in route. Please try again later.", "unknown"),
        (429, "", "unauthorized to go faster", "unknown"),
    ],
)  # fmt: skip
def test_a_429_that_means_rate_says_which_limit(status: int, code: str, message: str, limit: str) -> None:
    error = translated(status, code, message)
    assert isinstance(error, Throttled)
    assert error.limit == limit


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, "Arrearage", "Access denied, please make sure your account is in good standing."),
        (403, "AllocationQuota.FreeTierOnly", "The free tier of the model has been exhausted."),
        (429, "Throttling.AllocationQuota", "Free allocated quota exceeded."),
        (429, "CommodityNotPurchased", "Commodity has not purchased yet."),
        (429, "PrepaidBillOverdue", "The prepaid bill is overdue."),
        (429, "PostpaidBillOverdue", "The postpaid bill is overdue."),
        (400, "invalid_parameter_error", "The product is not activated, please activate it."),
        (401, "invalid_api_key", "Incorrect API key provided. "),
        (401, "InvalidApiKey", "No API-key provided."),
        (403, "Model.AccessDenied", "Model access denied."),
        (403, "AccessDenied", "current user api does not support synchronous calls"),
        (404, "model_not_found", "The model `text-embedding-v9` does not exist."),
        (404, "model_not_supported", "Unsupported model `gte-rerank-v2` for OpenAI compatibility mode."),
        (400, "InvalidParameter", "Model not exist."),
        (404, "", "404 page not found"),
        (301, "", ""),
    ],
)
def test_what_waiting_cannot_heal_stops_the_run_with_code_request_and_remedy(
    status: int, code: str, message: str
) -> None:
    error = translated(status, code, message)
    assert isinstance(error, ProviderStopped)
    assert (error.code, error.request_id) == (code, "318cff27")
    assert all(part in str(error) for part in (str(status), code, message.strip(), "request 318cff27"))
    assert ";" in str(error)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (500, "InternalError.Algo", "inference internal error"),
        (500, "internal_error", "Receive batching backend response failed!"),
        (500, "ModelServingError", "Too many requests. Your requests are being throttled due to system capacity limits."),
        (503, "ModelUnavailable", "Model is unavailable, please try again later."),
        (504, "GatewayTimeout", ""),
        (408, "RequestTimeOut", "Request timed out, please try again later."),
        (502, "", "<html><title>502 Bad Gateway</title></html>"),
        (200, "InternalError.Algo", "inference internal error"),
    ],
)  # fmt: skip
def test_the_providers_own_trouble_is_waited_for(status: int, code: str, message: str) -> None:
    assert type(translated(status, code, message)) is ProviderUnavailable


@pytest.mark.parametrize(
    ("status", "code", "message", "reason"),
    [
        (400, "InvalidParameter", TOO_LONG, "text_too_long"),
        (400, "data_inspection_failed", "Input data may contain inappropriate content.", "content_inspection"),
        (400, "DataInspectionFailed", "", "content_inspection"),
        (400, "BadRequest.EmptyInput", "", "text_empty"),
        (413, "BadRequest.TooLarge", "Payload Too Large", "request_too_large"),
        (400, "InvalidParameter", "something nobody has seen", "refused_by_provider"),
        (422, "", "", "refused_by_provider"),
    ],
)
def test_what_a_text_is_to_blame_for_refuses_texts(status: int, code: str, message: str, reason: str) -> None:
    error = translated(status, code, message)
    assert isinstance(error, TextsRefused)
    assert error.reason == reason
    assert error.remedy


@pytest.mark.parametrize("message", [TOO_MANY, DIMENSION, TOKEN_ARRAYS])
def test_a_wrong_setting_is_named_as_one(message: str) -> None:
    assert isinstance(translated(400, "InvalidParameter", message), ConfigurationError)


def test_a_native_body_says_the_same() -> None:
    refusal = read_refusal(429, {"code": "Throttling.RateQuota", "message": "Slow down.", "request_id": "fb53"})
    assert refusal.words == "HTTP 429 Throttling.RateQuota: Slow down. (request fb53)"


def test_an_error_in_a_200_is_seen_and_an_answer_is_not_taken_for_one() -> None:
    assert is_refusal({"code": "Throttling.RateQuota", "message": "x", "request_id": "r"})
    assert is_refusal({"error": {"message": "x"}})
    assert not is_refusal({"data": [], "code": "", "message": ""})
    assert not is_refusal({"data": [], "error": None})
    assert is_refusal({"code": "InternalError", "message": "x", "output": None, "usage": None})
    assert not is_refusal({"output": {"embeddings": []}, "code": "", "message": "", "request_id": "r"})


def test_an_error_in_a_200_that_nobody_knows_is_no_answer() -> None:
    assert isinstance(translated(200, "Odd", "odd"), BilledInvalidResponse)


def test_a_key_in_the_providers_words_is_masked() -> None:
    error = translated(
        401, "invalid_api_key", "Incorrect API key provided: sk-0123456789abcdef. (Bearer sk-abcdef0123)"
    )
    assert "0123" not in str(error)


def test_examples() -> None:
    assert doctest.testmod(module).failed == 0
