"""Why a provider refuses, before any dialect has put it into words.

Every endpoint of the provider refuses for the same reasons, in bodies of its own shape. The reason is raised
here as a `Refused`; the voice of the dialect (compatible_errors.py and its like) renders it.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Every reason for an error answer. The values are the names that fault plans and the books use."""

    # the request
    BAD_BODY = "bad_body"
    BAD_ROUTE = "bad_route"
    BAD_METHOD = "bad_method"
    NO_KEY = "no_key"
    WRONG_KEY = "wrong_key"
    UNKNOWN_MODEL = "unknown_model"
    UNSUPPORTED_MODEL = "unsupported_model"
    NOT_TEXTS = "not_texts"
    BATCH_SIZE = "batch_size"
    DIMENSION = "dimension"
    FIXED_DIMENSIONS = "fixed_dimensions"
    ENCODING_FORMAT = "encoding_format"
    PARAMETER = "parameter"
    LENGTH = "length"
    INSPECTION = "inspection"
    TOO_LARGE = "too_large"
    # the rate: wait and try again
    LIMIT_REQUESTS = "limit_requests"
    INSUFFICIENT_QUOTA = "insufficient_quota"
    LIMIT_BURST_RATE = "limit_burst_rate"
    GATEWAY_429 = "gateway_429"
    # the money and the rights: nothing heals by waiting
    ARREARAGE = "arrearage"
    FREE_TIER_ONLY = "free_tier_only"
    FREE_QUOTA_429 = "free_quota_429"
    NOT_PURCHASED_429 = "not_purchased_429"
    BILL_OVERDUE_429 = "bill_overdue_429"
    ACCESS_DENIED = "access_denied"
    # the provider's own trouble
    REQUEST_TIMEOUT = "request_timeout"
    INTERNAL_ERROR = "internal_error"
    MODEL_SERVING = "model_serving"
    MODEL_UNAVAILABLE = "model_unavailable"
    GATEWAY_TIMEOUT = "gateway_timeout"
    HTML_502 = "html_502"
    HTML_503 = "html_503"


THROTTLES = frozenset({Reason.LIMIT_REQUESTS, Reason.INSUFFICIENT_QUOTA, Reason.LIMIT_BURST_RATE, Reason.GATEWAY_429})


class Refused(Exception):
    """The request is answered with an error.

    `details` fills the placeholders of the dialect's message (`model`, `limit`, `given`, `allowed`, `what`).
    """

    def __init__(self, reason: Reason, **details: object) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.details = details
