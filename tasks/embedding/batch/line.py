"""One line of a Batch: the request that it carries, and what came back for it.

A line is one request of the compatible API, of as many texts, which fail together. Its name is made from the request
itself, so that the same texts have the same name in every run.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from millrace.tasks.embedding.models import ModelSpec
from millrace.tasks.embedding.providers.client import BilledInvalidResponse, EmbeddingResponse
from millrace.tasks.embedding.providers.error_rules import is_refusal, quoted
from millrace.tasks.embedding.providers.openai_compatible import DIALECTS, sends_dimensions
from millrace.tasks.embedding.providers.validation import validate_response

URL = "/v1/embeddings"
"""Of each line, and of the job that it belongs to."""

MAX_LINE_BYTES = 900_000
"""Below the least of the bounds that are published, 1 MB."""


@dataclass(frozen=True, slots=True)
class LineAnswer:
    """What came for the line `custom_id`: a validated response, or what is wrong.

    `billed_tokens` are what it cost in either case, 0 for what was not answered. `ran` is False for a line that the job
    did not come to, because it expired or was cancelled.
    """

    custom_id: str
    response: EmbeddingResponse | None = None
    problem: str = ""
    billed_tokens: int = 0
    ran: bool = True


class LineFormat:
    """How the requests of one model are written, and their answers read."""

    def __init__(self, spec: ModelSpec, *, dimensions: int, ask_dimensions: str = "auto") -> None:
        dialect = DIALECTS[spec.provider]
        self.dimensions = dimensions
        self._body: dict[str, object] = {"model": spec.name, "encoding_format": "float"}
        if sends_dimensions(spec, dimensions, ask_dimensions, always=dialect.always_sends_dimensions):
            self._body["dimensions"] = dimensions

    def line(self, texts: Sequence[str]) -> tuple[str, bytes]:
        """The name of the line for these texts, and the line itself, with its end."""
        body = {**self._body, "input": list(texts)}
        custom_id = hashlib.sha256(orjson.dumps(body)).hexdigest()
        return custom_id, orjson.dumps({"custom_id": custom_id, "method": "POST", "url": URL, "body": body}) + b"\n"

    def read(self, line: bytes, texts_of: Mapping[str, int]) -> LineAnswer | None:
        """What the output or error file says in `line`; None for what is no answer to a line in `texts_of`.

        `texts_of` has the number of texts of each line of the job. An answer is validated as a synchronous one is.
        """
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:
            return None
        custom_id = found.get("custom_id") if isinstance(found, dict) else None
        if not isinstance(custom_id, str) or custom_id not in texts_of:
            return None
        response = found.get("response")
        status = response.get("status_code") if isinstance(response, dict) else None
        body = response.get("body") if isinstance(response, dict) else None
        failure = found.get("error") or (body.get("error") if isinstance(body, dict) else None)
        if failure or not isinstance(body, dict) or (isinstance(status, int) and status >= 400) or is_refusal(body):
            return LineAnswer(custom_id, problem=_words(failure or body), ran=not _did_not_run(failure))
        request_id = quoted(response.get("request_id") or "", 100) if isinstance(response, dict) else ""
        try:
            vectors = validate_response(
                body, texts=texts_of[custom_id], dimensions=self.dimensions, request_id=request_id
            )
        except BilledInvalidResponse as error:
            return LineAnswer(custom_id, problem=str(error), billed_tokens=error.billed_tokens or 0)
        return LineAnswer(custom_id, vectors, billed_tokens=vectors.billed_tokens or 0)


def _words(failure: object) -> str:
    """What a refusal says, in any of the forms that were seen."""
    if isinstance(failure, dict):
        code = failure.get("code") or failure.get("error_code") or ""
        message = failure.get("message") or failure.get("error_message") or ""
        return quoted(f"{code} {message}".strip()) or "it was not answered"
    return quoted(failure) if failure else "it was not answered"


def _did_not_run(failure: Any) -> bool:
    code = failure.get("code") or failure.get("error_code") if isinstance(failure, dict) else ""
    return isinstance(code, str) and ("expired" in code.lower() or "cancel" in code.lower())
