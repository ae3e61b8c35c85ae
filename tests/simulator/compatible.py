"""The OpenAI-compatible dialect of text embeddings: `POST {prefix}/embeddings`.

Bodies are those recorded from the real server or printed in its documentation; where neither is public, the nearest
documented wording stands and the comment says so.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from http import HTTPStatus

import orjson

from tests.simulator.faults import Damage
from tests.simulator.items import answer_items
from tests.simulator.provider import Order, Provider
from tests.simulator.refusals import THROTTLES, Reason, Refused
from tests.simulator.wire import Request, Response

PREFIXES = ("/v1", "/compatible-mode/v1")


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
    Reason.ENCODING_FORMAT: ErrorText(  # wording not public
        400, "InvalidParameter", _PARAMETER + "Value error, encoding_format is invalid, only float is supported."
    ),
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

HTML_STATUS = {Reason.HTML_502: HTTPStatus.BAD_GATEWAY, Reason.HTML_503: HTTPStatus.SERVICE_UNAVAILABLE}


class CompatibleEmbeddings:
    """Answers embeddings requests as the compatible endpoint does."""

    routes = tuple(f"{prefix}/embeddings" for prefix in PREFIXES)

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def answer(self, request: Request) -> Response:
        """The answer to `request`, an error answer included; the books know of it when this returns."""
        request_id = str(uuid.uuid4())
        arrived_ms = time.time_ns() // 1_000_000
        try:
            order, as_base64 = self._read(request)
            wait_text = request.headers.get("x-dashscope-wait-timeout", "")
            damage = await self._provider.admit(order, float(wait_text) if wait_text.isdecimal() else 0.0)
        except Refused as refused:
            await self._provider.refuse(refused.reason)
            return self.refusal(refused, request_id)
        self._provider.bill(order, damage)
        now_ms = time.time_ns() // 1_000_000
        headers = {
            "x-request-id": request_id,
            "req-cost-time": str(now_ms - arrived_ms),
            "req-arrive-time": str(arrived_ms),
            "resp-start-time": str(now_ms),
            "x-envoy-upstream-service-time": str(now_ms - arrived_ms),
        }
        body = self._body(order, damage, request_id, as_base64=as_base64)
        return Response(HTTPStatus.OK, body, headers=headers, damage=damage)

    def refusal(self, refused: Refused, request_id: str | None = None) -> Response:
        """The error answer for `refused`."""
        request_id = request_id or str(uuid.uuid4())
        html_status = HTML_STATUS.get(refused.reason)
        if html_status is not None:
            title = f"{html_status.value} {html_status.phrase}"
            page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body><center><h1>{title}</h1></center></body>\r\n</html>\r\n"
            return Response(html_status, page.encode(), content_type="text/html")
        headers = {"x-request-id": request_id}
        text = ERRORS[refused.reason]
        if refused.reason in THROTTLES and self._provider.settings.retry_after_s is not None:
            headers["retry-after"] = str(self._provider.settings.retry_after_s)
        return Response(text.status, text.body(refused, request_id), headers=headers)

    def _read(self, request: Request) -> tuple[Order, bool]:
        """The order, and whether base64 is to be answered. Checks in the order that the real server is taken to have."""
        if request.method != "POST":
            raise Refused(Reason.BAD_METHOD, method=request.method)
        try:
            body = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            raise Refused(Reason.BAD_BODY)
        account = self._provider.account_of(request.headers.get("authorization"))
        name, given, dimensions = body.get("model"), body.get("input"), body.get("dimensions")
        if not isinstance(name, str) or not name:
            raise Refused(Reason.BAD_BODY)
        model = self._provider.model_named(name)
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise Refused(Reason.NOT_TEXTS)
        if dimensions is not None and type(dimensions) is not int:
            raise Refused(Reason.DIMENSION, model=model.short_name, allowed=sorted(model.dimensions))
        as_base64 = body.get("encoding_format") == "base64"
        if as_base64 and self._provider.settings.encoding_format == "refuse":
            raise Refused(Reason.ENCODING_FORMAT)
        order = self._provider.order(account, model, dimensions, texts)
        return order, as_base64 and self._provider.settings.encoding_format == "honour"

    def _body(self, order: Order, damage: Damage | None, request_id: str, *, as_base64: bool) -> bytes:
        if damage is Damage.ERROR_IN_200:
            return orjson.dumps(
                {"code": "InternalError.Algo", "message": "inference internal error", "request_id": request_id}
            )
        items = [
            b'{"embedding":%b,"index":%d,"object":"embedding"}' % (vector, index)
            for index, vector in answer_items(self._provider, order, damage, as_base64=as_base64)
        ]
        tail = {
            "model": order.model.name,
            "object": "list",
            "usage": {"prompt_tokens": order.tokens, "total_tokens": order.tokens},
            "id": request_id,
        }
        body = b'{"data":[' + b",".join(items) + b"]," + orjson.dumps(tail)[1:]
        return body[: len(body) * 2 // 3] if damage is Damage.TRUNCATED else body
