"""How DashScope's native endpoints put their refusals: `{"code", "message", "request_id"}`.

The same refusals as on the compatible endpoints (`compatible_errors`), under other codes.
Sources: Model Studio's error-code page; recorded bodies of native answers; bodies quoted in public issue threads.
"""

from __future__ import annotations

import orjson

from tests.simulator.dialects.compatible_errors import ERRORS, Gateway
from tests.simulator.refusals import Reason, Refused
from tests.simulator.wire import Response

# Code and message where they differ; the status never does, unless `_STATUS` says so.
_NATIVE: dict[Reason, tuple[str, str]] = {
    Reason.BAD_BODY: ("InvalidParameter", "Required body invalid, please check the request body format."),
    Reason.NO_KEY: ("InvalidApiKey", "No API-key provided."),
    Reason.WRONG_KEY: ("InvalidApiKey", "Invalid API-key provided."),
    Reason.UNKNOWN_MODEL: ("ModelNotFound", "Model not exist."),
    # A model of another endpoint: the server takes the address for the mistake.
    Reason.UNSUPPORTED_MODEL: ("InvalidParameter", "url error, please check url！"),
    Reason.INSPECTION: ("DataInspectionFailed", "Input or output data may contain inappropriate content."),
    Reason.LIMIT_REQUESTS: ("Throttling.RateQuota", "Requests rate limit exceeded, please try again later."),
    Reason.INSUFFICIENT_QUOTA: (
        "Throttling.AllocationQuota",
        "Allocated quota exceeded, please increase your quota limit.",
    ),
    Reason.LIMIT_BURST_RATE: ("Throttling.BurstRate", ERRORS[Reason.LIMIT_BURST_RATE].message),
    Reason.GATEWAY_429: ("Throttling", "Too many requests in route. Please try again later."),
    # The same code as the token limit, and yet it means money: only the message tells them apart.
    Reason.FREE_QUOTA_429: ("Throttling.AllocationQuota", "Free allocated quota exceeded."),
}
_STATUS = {Reason.UNSUPPORTED_MODEL: 400}


class NativeVoice(Gateway):
    """`{"code", "message", "request_id"}`."""

    def refusal(self, refused: Refused, request_id: str) -> Response:
        """The error answer for `refused`."""
        text = ERRORS[refused.reason]
        code, message = _NATIVE.get(refused.reason, (text.code, text.message))
        body = {"code": code, "message": message.format(**refused.details), "request_id": request_id}
        status = _STATUS.get(refused.reason, text.status)
        return Response(status, orjson.dumps(body), headers={"x-request-id": request_id})
