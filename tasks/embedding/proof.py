"""Law 3: a vector never sits on another text. An answer is proven before anything of it is used.

Raw bytes go straight to float32: the SDK's own parsing into lists of Python floats costs ten times as much.
"""

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from tasks.embedding.client import AnswerUnproven, EmbeddingResponse, Unreachable, Vectors

_LARGEST_SQUARE = 1e76  # (1e38)**2: a larger number would overflow float32


def prove(answer: dict[str, Any], *, texts: int, dimensions: int, request_id: str = "") -> EmbeddingResponse:
    """The decoded `answer` to a request of `texts` texts, its rows in the order of the texts.

    Proven: one item a text, `index` a permutation, each vector of `dimensions` finite numbers that are not all zero,
    usage present. Raises AnswerUnproven. An answer that carries an error is not for here (see `translate.is_refusal`).
    """
    billed = _billed(answer)
    items = answer.get("data")
    if not isinstance(items, list) or len(items) != texts:
        found = f"{len(items)} items" if isinstance(items, list) else "no `data`"
        raise AnswerUnproven(_words(f"{texts} texts were sent and {found} came back", request_id), billed_tokens=billed)
    order: list[Any] = [item.get("index") if isinstance(item, dict) else None for item in items]
    if any(type(index) is not int for index in order) or sorted(order) != list(range(texts)):
        raise AnswerUnproven(
            _words(f"the items are numbered {order}, not 0 to {texts - 1} once each", request_id), billed_tokens=billed
        )
    vectors = np.empty((texts, dimensions), dtype=np.float32)
    for item, index in zip(items, order, strict=True):
        fault = _fill(vectors[index], item.get("embedding"))
        if fault:
            raise AnswerUnproven(_words(f"vector {index} {fault}", request_id), billed_tokens=billed)
    if billed is None:
        raise AnswerUnproven(_words("it does not say what was billed (`usage`)", request_id), billed_tokens=None)
    return EmbeddingResponse(vectors, billed, request_id or str(answer.get("id") or ""))


def decode(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`.

    Raises Unreachable for HTML (a proxy's or another server's page), AnswerUnproven for a body that is cut off or not
    an object.
    """
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        start = body[:80].decode("utf-8", "replace")
        if body.lstrip()[:1] == b"<":
            message = f"the answer is a web page: {start!r}; check embedding.base_url and any proxy on the way"
            raise Unreachable(message) from None
        message = f"the answer is not whole JSON ({error}); it begins {start!r}"
        raise AnswerUnproven(message, billed_tokens=None) from None
    if not isinstance(answer, dict):
        message = f"the answer is a JSON {type(answer).__name__}, not an object"
        raise AnswerUnproven(message, billed_tokens=None)
    return answer


def _fill(row: Vectors, numbers: Sequence[float] | None) -> str:
    """Write one vector into `row`; what is wrong with it, "" if nothing is."""
    if not isinstance(numbers, list):
        return "is missing"
    if len(numbers) != len(row):
        return f"has {len(numbers)} dimensions, not the {len(row)} asked for"
    try:
        # numpy would read "1.0", true and null as numbers; array does not.
        exact = np.frombuffer(array("d", numbers))
    except TypeError:
        return "holds something that is not a number"
    # One pass settles it: the squares sum to nan or inf if any number is, and to 0 only if all are.
    square = float(exact @ exact)
    if not square < _LARGEST_SQUARE:
        return "holds a number that is not finite"
    row[:] = exact
    return "" if square > 0.0 else "is zero"


def _billed(answer: dict[str, Any]) -> int | None:
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return None
    for key in ("total_tokens", "prompt_tokens"):
        tokens = usage.get(key)
        if type(tokens) is int and tokens >= 0:
            return tokens
    return None


def _words(fault: str, request_id: str) -> str:
    return f"the answer cannot be used: {fault}" + (f" (request {request_id})" if request_id else "")
