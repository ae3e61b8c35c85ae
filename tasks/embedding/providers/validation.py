"""Validation of answers, so that a vector never sits on another text: nothing of an answer is used before.

The body is parsed straight to float32: the SDK's parsing to lists of Python floats costs ten times as much.
"""

import base64
import binascii
from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from millrace.tasks.embedding.providers.client import BilledInvalidResponse, EmbeddingResponse, Unreachable
from millrace.tasks.embedding.providers.error_rules import quoted
from millrace.tasks.records import sparse_bytes

_LARGEST_SQUARE = 1e76  # (1e38)**2: a larger number would overflow float32
_LEAST_SQUARE = 1e-60  # below it all numbers may be zero as float32
_MAX_SPARSE_INDEX = 2**32 - 2  # Milvus reserves the next one
_MAX_USAGE_TOKENS = 10**9  # no request has more, and sums of such numbers stay exact

Exact = npt.NDArray[np.float64]


class UnexpectedDimensions(BilledInvalidResponse):
    """All vectors have the same unexpected length, `found`, so the request may be wrong rather than the answer."""

    def __init__(self, message: str, *, billed_tokens: int | None, found: int) -> None:
        super().__init__(message, billed_tokens=billed_tokens)
        self.found = found


def validate_response(
    answer: dict[str, Any], *, texts: int, dimensions: int, request_id: str = "", usage_needed: bool = True
) -> EmbeddingResponse:
    """The vectors in a decoded `answer` of the compatible API to a request of `texts` texts, in the order of the texts.

    Checked: one item per text, `index` a permutation, each vector (numbers, or little-endian float32 in base64) has
    `dimensions` finite numbers that are not all zero. `billed_tokens` is None if usage is absurd or missing; missing,
    it is 0 unless `usage_needed`. Raises BilledInvalidResponse, or its subclass UnexpectedDimensions. Call
    `error_rules.is_refusal` before.
    """
    validator = _Validator(texts, request_id or quoted(answer.get("id") or "", 100), usage_tokens(answer))
    if validator.billed is None and not usage_needed and not isinstance(answer.get("usage"), dict):
        validator.billed = 0
    vectors = validator.vectors(validator.in_order(answer.get("data"), "data", "index"), dimensions)
    return EmbeddingResponse(vectors, validator.billed, validator.request_id)


def validate_native(
    answer: dict[str, Any], *, texts: int, dimensions: int, sparse: bool, request_id: str = ""
) -> EmbeddingResponse:
    """As `validate_response`, for DashScope's native API; with `sparse` each text also needs a sparse vector.

    A sparse vector has at least one entry; of several entries with the same index the largest value is kept.
    """
    output = answer.get("output")
    listed = output.get("embeddings") if isinstance(output, dict) else None
    validator = _Validator(texts, request_id or quoted(answer.get("request_id") or "", 100), usage_tokens(answer))
    items = validator.in_order(listed, "output.embeddings", "text_index")
    vectors = validator.vectors(items, dimensions)
    sparse_vectors = tuple(validator.sparse(at, item) for at, item in enumerate(items)) if sparse else None
    return EmbeddingResponse(vectors, validator.billed, validator.request_id, sparse_vectors)


def decode(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises as `decode_json`, and BilledInvalidResponse if it is not an object."""
    answer = decode_json(body, url_setting="embedding.base_url")
    if not isinstance(answer, dict):
        message = f"the answer is a JSON {type(answer).__name__}, not an object"
        raise BilledInvalidResponse(message, billed_tokens=None)
    return answer


def decode_json(body: bytes, *, url_setting: str) -> object:
    """The JSON in `body`; `url_setting` names the setting of the address in messages.

    Raises Unreachable for HTML (the page of a proxy or another server), BilledInvalidResponse for invalid JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        start = quoted(body[:1000].decode("utf-8", "replace"), 80)
        if body.lstrip()[:1] == b"<":
            message = f"the answer is a web page: {start!r}; check {url_setting} and any proxy between"
            raise Unreachable(message) from None
        message = f"the answer is not complete JSON ({error}); it begins {start!r}"
        raise BilledInvalidResponse(message, billed_tokens=None) from None


def usage_tokens(answer: object) -> int | None:
    """The tokens that `answer` says were billed; None if it does not say, or says something that cannot be."""
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if isinstance(usage, dict):
        for key in ("total_tokens", "prompt_tokens"):
            if type(tokens := usage.get(key)) is int and 0 <= tokens <= _MAX_USAGE_TOKENS:
                return tokens
    return None


class _Validator:
    """Validates one answer; errors name the request and carry what it was billed."""

    def __init__(self, texts: int, request_id: str, billed: int | None) -> None:
        self.request_id = request_id
        self.billed = billed
        self._texts = texts

    def in_order(self, items: object, place: str, index_key: str) -> list[dict[str, Any]]:
        """The items in the order of the texts."""
        if not isinstance(items, list) or len(items) != self._texts:
            found = f"{len(items)} items" if isinstance(items, list) else f"no `{place}`"
            raise self._invalid(f"{self._texts} texts were sent and {found} came back")
        order: list[Any] = [item.get(index_key) if isinstance(item, dict) else None for item in items]
        # An item without an index could be assigned by its position; that would be trust, not validation.
        if any(type(index) is not int for index in order) or sorted(order) != list(range(self._texts)):
            raise self._invalid(f"the items are numbered {quoted(order)}, not 0 to {self._texts - 1} once each")
        placed: list[dict[str, Any]] = [{}] * self._texts
        for item, index in zip(items, order, strict=True):
            placed[index] = item
        return placed

    def vectors(self, items: Sequence[dict[str, Any]], dimensions: int) -> npt.NDArray[np.float32]:
        """The dense vectors, float32, shape (len(items), dimensions)."""
        exact = [self._numbers(at, item.get("embedding")) for at, item in enumerate(items)]
        lengths = {len(numbers) for numbers in exact}
        if lengths != {dimensions}:
            at = next(i for i, numbers in enumerate(exact) if len(numbers) != dimensions)
            problem = f"vector {at} has {len(exact[at])} dimensions, not the {dimensions} asked for"
            if len(lengths) == 1 and exact[0].size:
                message = self._message(problem)
                raise UnexpectedDimensions(message, billed_tokens=self.billed, found=len(exact[0]))
            raise self._invalid(problem)
        vectors = np.empty((len(items), dimensions), dtype=np.float32)
        for at, numbers in enumerate(exact):
            # One pass is enough: the squares sum to nan or inf if any number is, and to 0 only if all are.
            square = float(numbers @ numbers)
            if not square < _LARGEST_SQUARE:
                raise self._invalid(f"vector {at} holds a number that is not finite")
            if not square > _LEAST_SQUARE:
                raise self._invalid(f"vector {at} is zero")
            vectors[at] = numbers
        return vectors

    def sparse(self, at: int, item: dict[str, Any]) -> bytes:
        """The sparse vector of text `at`, as the lake and Milvus keep it."""
        entries = item.get("sparse_embedding")
        if not isinstance(entries, list) or not entries:
            raise self._invalid(f"text {at} has no sparse vector, which was asked for")
        try:
            # array rejects "7149" as a number and 0.5 as an index.
            indices = array("q", [entry["index"] for entry in entries])
            values = array("d", [entry["value"] for entry in entries])
            if bool in {type(entry[key]) for entry in entries for key in ("index", "value")}:
                raise self._invalid(f"the sparse vector of text {at} has true or false for a number")
            if max(indices) > _MAX_SPARSE_INDEX:
                raise self._invalid(f"the sparse vector of text {at} has an index above {_MAX_SPARSE_INDEX:,}")
            packed = sparse_bytes(np.frombuffer(indices, np.int64), np.frombuffer(values))  # type: ignore[arg-type]
        except (TypeError, KeyError, OverflowError, ValueError) as error:
            raise self._invalid(f"the sparse vector of text {at} cannot be read ({quoted(str(error))})") from None
        if not packed:
            raise self._invalid(f"the sparse vector of text {at} is zero")
        return packed

    def _numbers(self, at: int, given: object) -> Exact:
        if isinstance(given, str):
            try:
                return np.frombuffer(base64.b64decode(given, validate=True), "<f4").astype(np.float64)
            except (binascii.Error, ValueError):
                raise self._invalid(f"vector {at} is a text that is not float32 numbers in base64") from None
        if not isinstance(given, list):
            raise self._invalid(f"vector {at} is missing")
        try:
            # numpy would read "1.0", true and null as numbers; array rejects all but true.
            if given and bool not in map(type, given):
                return np.frombuffer(array("d", given))
        except (TypeError, OverflowError):
            pass
        if not given:
            return np.empty(0)
        raise self._invalid(f"vector {at} holds something that is not a number")

    def _invalid(self, problem: str) -> BilledInvalidResponse:
        return BilledInvalidResponse(self._message(problem), billed_tokens=self.billed)

    def _message(self, problem: str) -> str:
        return f"the answer cannot be used: {problem}" + (f" (request {self.request_id})" if self.request_id else "")
