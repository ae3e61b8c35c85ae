"""How DashScope's OpenAI-compatible endpoints put their refusals, and the headers of its gateway.

Bodies are those recorded from the real server or printed in its documentation; where neither is public, the nearest
documented wording stands and the comment says so.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import orjson

from tests.simulator.refusals import Reason, Refused
from tests.simulator.wire import Response


@dataclass(frozen=True, slots=True)
class ErrorText:
    """How one reason is put: `code` and `type` are mostly, not always, the same on this endpoint."""

    status: int
    code: str | None
    message: str
    type: str | None = None

    def body(self, refused: Refused, request_id: str) -> bytes:
        error = {
            "message": self.message.format(**refused.details),
            "type": self.type or self.code,
            "param": None,
            "code": self.code,
        }
        return orjson.dumps({"error": error, "id": request_id, "request_id": request_id})


_PARAMETER = "<400> InternalError.Algo.InvalidParameter: "
_INVALID = "invalid_request_error"

ERRORS: dict[Reason, ErrorText] = {
    Reason.BAD_BODY: ErrorText(
        400, "invalid_parameter_error", "Required body invalid, please check the request body format.", _INVALID
    ),
    Reason.BAD_ROUTE: ErrorText(404, "NotFound", "Not Found", _INVALID),  # wording not public
    Reason.BAD_METHOD: ErrorText(405, "MethodNotAllowed", "Request method '{method}' is not supported.", _INVALID),
    Reason.NO_KEY: ErrorText(401, "invalid_api_key", "No API-key provided.", _INVALID),
    Reason.WRONG_KEY: ErrorText(401, "invalid_api_key", "Incorrect API key provided. ", _INVALID),
    Reason.UNKNOWN_MODEL: ErrorText(
        404, "model_not_found", "The model `{model}` does not exist or you do not have access to it.", _INVALID
    ),
    Reason.UNSUPPORTED_MODEL: ErrorText(
        404, "model_not_supported", "Unsupported model `{model}` for OpenAI compatibility mode.", _INVALID
    ),
    Reason.NOT_TEXTS: ErrorText(
        400, "InvalidParameter", _PARAMETER + "Value error, contents is neither str nor list of str.: input.contents"
    ),
    Reason.BATCH_SIZE: ErrorText(
        400,
        "InvalidParameter",
        _PARAMETER + "Value error, batch size is invalid, it should not be larger than {limit}.: input.contents",
    ),
    Reason.DIMENSION: ErrorText(
        400,
        "InvalidParameter",
        _PARAMETER + "dimension for embedding {model} is invalid, its value should be in {allowed}",
    ),
    Reason.FIXED_DIMENSIONS: ErrorText(  # no model here has such a refusal
        400, "InvalidParameter", _PARAMETER + "dimension for embedding {model} is invalid"
    ),
    Reason.ENCODING_FORMAT: ErrorText(  # wording not public
        400, "InvalidParameter", _PARAMETER + "Value error, encoding_format is invalid, only float is supported."
    ),
    Reason.PARAMETER: ErrorText(400, "InvalidParameter", _PARAMETER + "Value error, {what}"),
    # Also for a blank text: its own body is not public, and the range starts at 1.
    Reason.LENGTH: ErrorText(400, "InvalidParameter", _PARAMETER + "Range of input length should be [1, {limit}]"),
    Reason.INSPECTION: ErrorText(
        400, "data_inspection_failed", "Input or output data may contain inappropriate content."
    ),
    Reason.TOO_LARGE: ErrorText(413, "BadRequest.TooLarge", "Payload Too Large"),
    Reason.LIMIT_REQUESTS: ErrorText(
        429,
        "limit_requests",
        "You exceeded your current requests list. For details, see: "
        "https://help.aliyun.com/zh/model-studio/error-code#rate-limit",
    ),
    Reason.INSUFFICIENT_QUOTA: ErrorText(
        429,
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details. For details, see: "
        "https://help.aliyun.com/zh/model-studio/error-code#token-limit",
    ),
    Reason.LIMIT_BURST_RATE: ErrorText(
        429,
        "limit_burst_rate",
        "Request rate increased too quickly. To ensure system stability, please adjust your client logic to scale "
        "requests more smoothly over time.",
    ),
    Reason.GATEWAY_429: ErrorText(429, None, "Too many requests in route. Please try again later."),
    Reason.ARREARAGE: ErrorText(400, "Arrearage", "Access denied, please make sure your account is in good standing."),
    Reason.FREE_TIER_ONLY: ErrorText(
        403,
        "AllocationQuota.FreeTierOnly",
        "The free tier of the model has been exhausted. If you wish to continue access the model on a paid basis, "
        'please disable the "use free tier only" mode in the management console.',
    ),
    # The same code as the token limit, and yet it means money: only the message tells them apart.
    Reason.FREE_QUOTA_429: ErrorText(429, "insufficient_quota", "Free allocated quota exceeded."),
    Reason.NOT_PURCHASED_429: ErrorText(429, "CommodityNotPurchased", "Commodity has not purchased yet."),
    Reason.BILL_OVERDUE_429: ErrorText(429, "PostpaidBillOverdue", "Postpaid bill is overdue."),
    Reason.ACCESS_DENIED: ErrorText(403, "AccessDenied.Unpurchased", "Access to model denied."),
    Reason.REQUEST_TIMEOUT: ErrorText(408, "RequestTimeOut", "Request timed out, please try again later."),
    Reason.INTERNAL_ERROR: ErrorText(500, "InternalError.Algo", "inference internal error"),
    Reason.MODEL_SERVING: ErrorText(
        503,
        "ModelServingError",
        "Too many requests. Your requests are being throttled due to system capacity limits. Please try again later.",
    ),
    Reason.MODEL_UNAVAILABLE: ErrorText(503, "ModelUnavailable", "Model is unavailable, please try again later."),
    Reason.GATEWAY_TIMEOUT: ErrorText(504, "GatewayTimeout", "Gateway timeout, please try again later."),
}


class Gateway:
    """What all endpoints of DashScope share: the headers of an answer, and an error body under a good status."""

    def headers(self, request_id: str, arrived_ms: int) -> dict[str, str]:
        """`arrived_ms`: when the request came, in milliseconds since 1970."""
        now_ms = time.time_ns() // 1_000_000
        return {
            "x-request-id": request_id,
            "req-cost-time": str(now_ms - arrived_ms),
            "req-arrive-time": str(arrived_ms),
            "resp-start-time": str(now_ms),
            "x-envoy-upstream-service-time": str(now_ms - arrived_ms),
        }

    def error_in_200(self, request_id: str) -> bytes:
        """In the native shape, on the compatible endpoints too."""
        return orjson.dumps(
            {"code": "InternalError.Algo", "message": "inference internal error", "request_id": request_id}
        )


class CompatibleVoice(Gateway):
    """`{"error": {"message", "type", "param", "code"}, "id", "request_id"}`."""

    def refusal(self, refused: Refused, request_id: str) -> Response:
        """The error answer for `refused`."""
        text = ERRORS[refused.reason]
        return Response(text.status, text.body(refused, request_id), headers={"x-request-id": request_id})
