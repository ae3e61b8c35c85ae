"""How OpenAI and the servers that speak its API put their refusals, each in its own words and shape.

Sources: OpenAI's error guide and bodies quoted in public issues; vllm-project/vllm#16331 (dimensions), #19798 (too
long), its `ErrorResponse` before and after it was put under "error"; router/src/http of
huggingface/text-embeddings-inference (statuses by kind, two shapes); ollama's OpenAI middleware; FastAPI's `detail`,
which Xinference and others answer with.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

import orjson

from tests.simulator.dialects.compatible_errors import ERRORS, ErrorText
from tests.simulator.dialects.openai_settings import Flavour
from tests.simulator.provider import Provider
from tests.simulator.refusals import Reason, Refused
from tests.simulator.wire import Response

_INVALID = "invalid_request_error"
_EMPTY_WALLET = ErrorText(
    429,
    "insufficient_quota",
    "You exceeded your current quota, please check your plan and billing details. For more information on this error, "
    "read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
)
_NO_RIGHT = ErrorText(403, "model_not_found", "Project does not have access to model `{model}`", _INVALID)
_SERVER = "server_error"


def _rate(kind: str, unit: str) -> ErrorText:
    message = (
        f"Rate limit reached for {{model}} in organization org-simulator on {unit}: Limit 3, Used 3, Requested 1. "
        "Please try again in 20s. Visit https://platform.openai.com/account/rate-limits to learn more."
    )
    return ErrorText(429, "rate_limit_exceeded", message, kind)


_OPENAI: dict[Reason, ErrorText] = {
    Reason.BAD_BODY: ErrorText(400, None, "We could not parse the JSON body of your request.", _INVALID),
    Reason.BAD_ROUTE: ErrorText(404, None, "Invalid URL", _INVALID),
    Reason.BAD_METHOD: ErrorText(405, None, "Not allowed to {method} on this route.", _INVALID),
    Reason.NO_KEY: ErrorText(401, None, "You didn't provide an API key.", _INVALID),
    Reason.WRONG_KEY: ErrorText(401, "invalid_api_key", "Incorrect API key provided: sk-*****.", _INVALID),
    Reason.UNKNOWN_MODEL: ErrorText(
        404, "model_not_found", "The model `{model}` does not exist or you do not have access to it.", _INVALID
    ),
    Reason.UNSUPPORTED_MODEL: ErrorText(
        403, None, "You are not allowed to generate embeddings from this model", _INVALID
    ),
    Reason.NOT_TEXTS: ErrorText(400, None, "'$.input' is invalid. Please check the API reference.", _INVALID),
    Reason.BATCH_SIZE: ErrorText(
        400,
        "array_above_max_length",
        "Invalid 'input': array too long. Expected an array with maximum length {limit}, but got an array with length "
        "{given} instead.",
        _INVALID,
    ),
    Reason.DIMENSION: ErrorText(
        400, None, "Invalid value for 'dimensions'. Must be less than or equal to {limit}.", _INVALID
    ),
    Reason.FIXED_DIMENSIONS: ErrorText(400, None, "This model does not support specifying dimensions.", _INVALID),
    Reason.LENGTH: ErrorText(
        400,
        None,
        "This model's maximum context length is {limit} tokens, however you requested {given} tokens ({given} in your "
        "prompt; 0 for the completion). Please reduce your prompt; or completion length.",
        _INVALID,
    ),
    Reason.PARAMETER: ErrorText(400, None, "{what}", _INVALID),
    Reason.TOO_LARGE: ErrorText(413, None, "Request Entity Too Large", _INVALID),
    Reason.LIMIT_REQUESTS: _rate("requests", "requests per min (RPM)"),
    Reason.LIMIT_BURST_RATE: _rate("requests", "requests per min (RPM)"),
    Reason.INSUFFICIENT_QUOTA: _rate("tokens", "tokens per min (TPM)"),
    Reason.GATEWAY_429: ErrorText(429, None, "Too Many Requests", "rate_limit_error"),
    **dict.fromkeys(
        (Reason.ARREARAGE, Reason.FREE_QUOTA_429, Reason.NOT_PURCHASED_429, Reason.BILL_OVERDUE_429), _EMPTY_WALLET
    ),
    Reason.FREE_TIER_ONLY: _NO_RIGHT,
    Reason.ACCESS_DENIED: _NO_RIGHT,
    Reason.INTERNAL_ERROR: ErrorText(500, None, "The server had an error while processing your request.", _SERVER),
    Reason.MODEL_SERVING: ErrorText(503, None, "The engine is currently overloaded.", _SERVER),
    Reason.MODEL_UNAVAILABLE: ErrorText(503, None, "Service unavailable.", _SERVER),
}
_BLANK = ErrorText(400, None, "Invalid 'input': input cannot be an empty string.", _INVALID)

# Of vLLM, where they differ.
_VLLM: dict[Reason, str] = {
    Reason.UNKNOWN_MODEL: "The model `{model}` does not exist.",
    Reason.DIMENSION: 'Model "{model}" only supports {allowed} matryoshka dimensions, use other output dimensions will '
    "lead to poor results.",
    Reason.FIXED_DIMENSIONS: 'Model "{model}" does not support matryoshka representation, changing output dimensions '
    "will lead to poor results.",
    Reason.LENGTH: "This model's maximum context length is {limit} tokens. However, you requested {given} tokens in the "
    "input for embedding generation. Please reduce the length of the input.",
}
_VLLM_TYPES = {400: "BadRequestError", 404: "NotFoundError", 429: "RateLimitError", 500: "InternalServerError"}

_OLLAMA: dict[Reason, str] = {
    Reason.UNKNOWN_MODEL: 'model "{model}" not found, try pulling it first',
    Reason.LENGTH: "the input length exceeds the context length",
}

# Of TEI: its name for the kind of error, from which the status follows.
_TEI: dict[Reason, tuple[str, str]] = {
    Reason.BATCH_SIZE: ("Validation", "batch size {given} > maximum allowed batch size {limit}"),
    Reason.LENGTH: (
        "Validation",
        "Input validation error: `inputs` must have less than {limit} tokens. Given: {given}",
    ),
    Reason.NOT_TEXTS: ("Empty", "`inputs` cannot be empty"),
    Reason.LIMIT_REQUESTS: ("Overloaded", "Model is overloaded"),
    Reason.LIMIT_BURST_RATE: ("Overloaded", "Model is overloaded"),
    Reason.INSUFFICIENT_QUOTA: ("Overloaded", "Model is overloaded"),
    Reason.GATEWAY_429: ("Overloaded", "Model is overloaded"),
    Reason.INTERNAL_ERROR: ("Backend", "inference error: backend failure"),
    Reason.MODEL_SERVING: ("Overloaded", "Model is overloaded"),
    Reason.MODEL_UNAVAILABLE: ("Unhealthy", "unhealthy"),
}
_TEI_STATUSES = {"Empty": 400, "Overloaded": 429, "Backend": 424, "Unhealthy": 503}


class OpenAiVoice:
    """The shape and the words of `openai.flavour`."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def refusal(self, refused: Refused, request_id: str) -> Response:
        """The error answer for `refused`."""
        flavour = self._provider.settings.openai.flavour
        if flavour == "tei":
            return tei_refusal(refused, self._provider.settings.openai.tei_validation_status)
        return _SHAPES[flavour](refused, _text(refused))

    def headers(self, request_id: str, arrived_ms: int) -> dict[str, str]:
        """The request id, as OpenAI and vLLM send it."""
        return {"x-request-id": request_id}

    def error_in_200(self, request_id: str) -> bytes:
        """The body of a 500, as some proxies pass it on."""
        return self.refusal(Refused(Reason.INTERNAL_ERROR), request_id).body


class TeiRerankVoice(OpenAiVoice):
    """TEI's own endpoints: `{"error", "error_type"}`, whatever the flavour of the others."""

    def refusal(self, refused: Refused, request_id: str) -> Response:
        """The error answer for `refused`."""
        return tei_refusal(refused, self._provider.settings.openai.tei_validation_status, own_shape=True)


def tei_refusal(refused: Refused, validation_status: int, *, own_shape: bool = False) -> Response:
    """TEI's error answer, in the shape of its OpenAI endpoint or in that of its own ones."""
    if refused.reason not in _TEI:
        # The web framework's answer, before TEI has seen the request.
        text = _text(refused)
        status = HTTPStatus.UNPROCESSABLE_ENTITY if refused.reason is Reason.BAD_BODY else text.status
        words = "Failed to deserialize the JSON body into the target type"
        return Response(status, words.encode() if status == 422 else b"", content_type="text/plain; charset=utf-8")
    kind, message = _TEI[refused.reason]
    if _is_blank(refused):
        kind, message = "Empty", "`inputs` cannot be empty"
    status = _TEI_STATUSES.get(kind, validation_status)
    said = message.format(**refused.details)
    body = {"error": said, "error_type": kind} if own_shape else {"message": said, "code": status, "type": kind}
    return Response(status, orjson.dumps(body))


def _is_blank(refused: Refused) -> bool:
    return refused.reason is Reason.LENGTH and refused.details.get("given") == 0


def _text(refused: Refused) -> ErrorText:
    return _BLANK if _is_blank(refused) else _OPENAI.get(refused.reason, ERRORS[refused.reason])


def _said(refused: Refused, text: ErrorText, words: dict[Reason, str]) -> str:
    message = text.message if _is_blank(refused) else words.get(refused.reason, text.message)
    return message.format(**refused.details)


def _openai(refused: Refused, text: ErrorText) -> Response:
    error = {"message": _said(refused, text, {}), "type": text.type or text.code, "param": None, "code": text.code}
    return Response(text.status, orjson.dumps({"error": error}))


def _vllm_error(refused: Refused, text: ErrorText) -> tuple[int, dict[str, object]]:
    status = 404 if refused.reason is Reason.UNSUPPORTED_MODEL else text.status
    kind = _VLLM_TYPES.get(status, HTTPStatus(status).phrase)
    return status, {"message": _said(refused, text, _VLLM), "type": kind, "param": None, "code": status}


def _vllm(refused: Refused, text: ErrorText) -> Response:
    if text.status == HTTPStatus.UNAUTHORIZED:
        return Response(text.status, b'{"error":"Unauthorized"}')
    status, error = _vllm_error(refused, text)
    return Response(status, orjson.dumps({"error": error}))


def _vllm_flat(refused: Refused, text: ErrorText) -> Response:
    """As vLLM's releases until the middle of 2025."""
    if text.status == HTTPStatus.UNAUTHORIZED:
        return Response(text.status, b'{"error":"Unauthorized"}')
    status, error = _vllm_error(refused, text)
    return Response(status, orjson.dumps({"object": "error", **error}))


def _ollama(refused: Refused, text: ErrorText) -> Response:
    kind = {400: _INVALID, 404: "not_found_error"}.get(text.status, "api_error")
    error = {"message": _said(refused, text, _OLLAMA), "type": kind, "param": None, "code": None}
    return Response(text.status, orjson.dumps({"error": error}))


def _fastapi(refused: Refused, text: ErrorText) -> Response:
    if refused.reason is not Reason.BATCH_SIZE:
        return Response(text.status, orjson.dumps({"detail": _said(refused, text, {})}))
    limit, given = refused.details["limit"], refused.details["given"]
    problem = {
        "type": "too_long",
        "loc": ["body", "input"],
        "msg": f"List should have at most {limit} items after validation, not {given}",
        "ctx": {"field_type": "List", "max_length": limit, "actual_length": given},
    }
    return Response(HTTPStatus.UNPROCESSABLE_ENTITY, orjson.dumps({"detail": [problem]}))


_SHAPES: dict[Flavour, Callable[[Refused, ErrorText], Response]] = {
    "openai": _openai,
    "vllm": _vllm,
    "vllm_flat": _vllm_flat,
    "ollama": _ollama,
    "fastapi": _fastapi,
}
