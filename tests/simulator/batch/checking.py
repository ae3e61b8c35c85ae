"""The check of a job's input file, line by line.

Codes and messages recorded or documented: `url_not_found`, `mismatched_test_url`, `mismatched_model`,
`duplicate_custom_id`, `model_not_found`. Those of `invalid_json_line` and `empty_file` are OpenAI's; the others are
not public.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.simulator.batch.settings import EMBEDDINGS_ENDPOINT, ENDPOINTS, TEST_ENDPOINT, BatchSettings

TEST_MODEL = "batch-test-model"
_TEST_LINES = 100
_TEST_BYTES = 1 << 20
_CUSTOM_ID_CHARS = 256


@dataclass(slots=True)
class Checked:
    """What an input file holds, and what is wrong with it."""

    model: str = ""
    lines: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)


def check_file(path: Path, endpoint: str, settings: BatchSettings) -> Checked:
    """`path` as the input of a job for `endpoint`; one error for each bad line."""
    found, seen = Checked(), set[str]()
    is_test = endpoint == TEST_ENDPOINT
    max_lines = _TEST_LINES if is_test else settings.max_lines
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            found.lines = number
            if number <= max_lines and (error := _error_of(line, endpoint, settings, found, seen)):
                found.errors.append({**error, "line": number})
    if found.lines > max_lines:
        found.errors.append(_error("max_lines_exceeded", f"The file has more than {max_lines} requests.", None))
    if not found.lines:
        found.errors.append(_error("empty_file", "The input file is empty.", None))
    if is_test and path.stat().st_size > _TEST_BYTES:
        found.errors.append(_error("max_bytes_exceeded", "The file of a test is larger than 1 MB.", None))
    return found


def _error_of(
    line: bytes, endpoint: str, settings: BatchSettings, found: Checked, seen: set[str]
) -> dict[str, Any] | None:
    if len(line) > settings.line_bytes:
        return _error("line_too_long", f"The line has more than {settings.line_bytes} bytes.", None)
    request: object
    try:
        request = orjson.loads(line)
    except orjson.JSONDecodeError:
        request = None
    if not isinstance(request, dict):
        return _error("invalid_json_line", "This line is not parseable as valid JSON.", None)
    return _error_of_id(request.get("custom_id"), seen) or next(
        _errors_of_request(request, endpoint, settings, found), None
    )


def _error_of_id(custom_id: object, seen: set[str]) -> dict[str, Any] | None:
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= _CUSTOM_ID_CHARS:
        what = f"The custom_id must be a string of 1 to {_CUSTOM_ID_CHARS} characters."
        return _error("invalid_custom_id", what, "custom_id")
    if custom_id in seen:
        return _error("duplicate_custom_id", f"The custom_id '{custom_id}' is duplicated.", "custom_id")
    seen.add(custom_id)
    return None


def _errors_of_request(
    request: dict[str, Any], endpoint: str, settings: BatchSettings, found: Checked
) -> Iterator[dict[str, Any]]:
    """What is wrong with a request; only the first is told, and what follows it may make no sense."""
    url, body = request.get("url"), request.get("body")
    if request.get("method") != "POST":
        yield _error("invalid_method", "The method must be POST.", "method")
    if url not in ENDPOINTS:
        yield _error("url_not_found", f"The provided url '{url}' is not supported by the Batch API.", "url")
    if not isinstance(body, dict):
        yield _error("invalid_body", "The body must be an object.", "body")
    model = str(body.get("model")) if isinstance(body, dict) else ""
    if (model == TEST_MODEL) != (url == TEST_ENDPOINT):
        what = f"The provided URL '{url}' does not match the test model '{TEST_MODEL}'."
        yield _error("mismatched_test_url", what, "url")
    if url != endpoint:
        yield _error("mismatched_url", f"The provided url '{url}' is not the endpoint '{endpoint}'.", "url")
    is_offered = url == TEST_ENDPOINT or (
        url == EMBEDDINGS_ENDPOINT and model in settings.models and settings.region == "beijing"
    )
    if not is_offered:
        yield _error(
            "model_not_found", f"The provided model '{model}' is not supported by the Batch API.", "body.model"
        )
    found.model = found.model or model
    if model != found.model:
        what = f"The provided model '{model}' is not '{found.model}', the model of the lines before."
        yield _error("mismatched_model", what, "body.model")


def _error(code: str, message: str, param: str | None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": param, "line": None}
