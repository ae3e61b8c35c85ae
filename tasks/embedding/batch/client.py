"""Files and Batch jobs of a provider, over the openai SDK: one call, one try, failures as our errors.

The SDK's retries are off: an upload or a creation whose answer was lost may have taken effect, and a second one would
be paid for again.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from openai import AsyncOpenAI, NotFoundError

from millrace.tasks.embedding.batch.line import URL
from millrace.tasks.embedding.providers.client import BilledInvalidResponse, Unreachable
from millrace.tasks.embedding.providers.error_rules import quoted
from millrace.tasks.embedding.providers.http import Endpoint
from millrace.tasks.embedding.providers.openai_compatible import DIALECTS, require_key
from millrace.tasks.embedding.providers.validation import decode
from millrace.tasks.errors import MillraceError, ProviderUnavailable, Throttled, Transient

_TIMEOUT_S = 60.0
_UPLOAD_TIMEOUT_S = 3600.0
_MAX_ANSWER_BYTES = 4 << 20
_MAX_LINE_BYTES = 32 << 20
_PAGE = 100

TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})
"""The states that a job does not leave."""


class FileNotVisible(ProviderUnavailable):
    """A file that was uploaded is not known: for a moment after the upload, or because it was deleted."""


@dataclass(frozen=True, slots=True)
class RemoteJob:
    """A job as the provider tells of it; `problem` is the first of what it found wrong with the file, "" for nothing.

    Only `status` says how far it is: counts and times may stand still for long, or be missing.
    """

    id: str
    status: str
    input_file: str
    output_file: str = ""
    error_file: str = ""
    total: int = 0
    completed: int = 0
    failed: int = 0
    problem: str = ""

    @property
    def over(self) -> bool:
        """Whether it does not change any more."""
        return self.status in TERMINAL

    @property
    def published(self) -> bool:
        """Whether all its results can be had: a completed job may come without its file for a while."""
        if self.status == "completed" and not (self.output_file or self.error_file):
            return False
        return bool(self.output_file) or not self.completed


class BatchClient:
    """The files and jobs of one account at `base_url`."""

    def __init__(self, provider: str, *, base_url: str, api_key: str) -> None:
        target = f"Batch at {base_url}"
        dialect = DIALECTS[provider]
        require_key(target, api_key if dialect.key_needed else "none")
        self._endpoint = Endpoint(base_url, api_key=api_key, target=target, rules=dialect.rules, timeout_s=_TIMEOUT_S)

    async def upload(self, file: Path) -> str:
        """The id of the file after it was uploaded. Raises `LostAnswer` where it may be there all the same."""
        async with self._asked(timeout_s=_UPLOAD_TIMEOUT_S) as client:
            with file.open("rb") as stream:
                found = await client.files.create(file=stream, purpose="batch", timeout=_UPLOAD_TIMEOUT_S)
        return str(found.id)

    async def uploads(self, name: str, size_bytes: int) -> list[str]:
        """The ids of uploaded files of that name and size, the newest first."""
        found: list[str] = []
        after = ""
        while True:
            async with self._asked() as client:
                query: dict[str, Any] = {"purpose": "batch", "limit": _PAGE} | ({"after": after} if after else {})
                page = await _get(client, "/files", query)
            files = [file for file in page.get("data") or [] if isinstance(file, dict)]
            found += [
                str(file["id"]) for file in files if file.get("filename") == name and file.get("bytes") == size_bytes
            ]
            if not page.get("has_more") or not files:
                return found
            after = str(files[-1].get("id"))

    async def create(self, input_file: str, *, window: str, name: str) -> RemoteJob:
        """Start a job.

        Raises `LostAnswer` where it may be running all the same, and `FileNotVisible` while the file is not known yet.
        """
        body = {
            "input_file_id": input_file,
            "endpoint": URL,
            "completion_window": window,
            "metadata": {"ds_name": name[:100]},
        }
        async with self._asked() as client:
            try:
                return _job(_object(await client.post("/batches", body=body, cast_to=httpx2.Response)))
            except NotFoundError as error:
                raise FileNotVisible(f"Batch does not know the file {input_file}: {quoted(str(error))}") from None

    async def jobs_of(self, input_file: str) -> list[RemoteJob]:
        """The jobs that were started with that file."""
        async with self._asked() as client:
            page = await _get(client, "/batches", {"input_file_ids": input_file, "limit": _PAGE})
        jobs = [_job(job) for job in page.get("data") or [] if isinstance(job, dict)]
        return [job for job in jobs if job.input_file == input_file]  # whatever the server made of the filter

    async def job(self, job: str) -> RemoteJob:
        """What is known of a job."""
        async with self._asked() as client:
            return _job(await _get(client, f"/batches/{job}"))

    async def cancel(self, job: str) -> RemoteJob:
        """Ask for the end of a job; what it had finished is kept, and billed."""
        async with self._asked() as client:
            return _job(_object(await client.post(f"/batches/{job}/cancel", cast_to=httpx2.Response)))

    async def lines(self, file: str) -> AsyncIterator[bytes]:
        """The lines of a file, as they come. Raises `LostAnswer` where it breaks off."""
        async with self._asked(timeout_s=None, max_bytes=0) as client:
            call = client.files.with_streaming_response.content(file, extra_headers={"Accept-Encoding": "identity"})
            async with call as response:
                rest = b""
                async with aclosing(response.iter_bytes()) as pieces:
                    async for piece in pieces:
                        *whole, rest = (rest + piece).split(b"\n")
                        for line in whole:
                            yield line
                        if len(rest) > _MAX_LINE_BYTES:
                            message = f"a line of {file} is longer than {_MAX_LINE_BYTES:,} bytes"
                            raise BilledInvalidResponse(message, billed_tokens=None)
                if rest:
                    yield rest

    async def delete(self, file: str) -> None:
        """Delete a file; one that is not there is fine."""
        async with self._asked() as client:
            with suppress(NotFoundError):
                await client.delete(f"/files/{file}", cast_to=httpx2.Response)

    async def close(self) -> None:
        """Close every connection."""
        await self._endpoint.close()

    def _asked(self, *, timeout_s: float | None = _TIMEOUT_S, max_bytes: int = _MAX_ANSWER_BYTES) -> Any:
        return self._endpoint.asked(max_bytes=max_bytes, timeout_s=timeout_s)


def may_have_taken_effect(error: MillraceError) -> bool:
    """Whether what was asked for may have been done although it failed: the answer was lost, or is a server's 5xx."""
    return isinstance(error, Transient) and not isinstance(error, Throttled | Unreachable)


async def _get(client: AsyncOpenAI, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return _object(await client.get(path, cast_to=httpx2.Response, options={"params": dict(query or {})}))


def _object(response: httpx2.Response) -> dict[str, Any]:
    return decode(response.content)


def _job(found: Mapping[str, Any]) -> RemoteJob:
    identity, status = found.get("id"), found.get("status")
    if not isinstance(identity, str) or not isinstance(status, str):
        raise ProviderUnavailable(f"the answer is no Batch job: {quoted(dict(found), 200)}")
    counts = found.get("request_counts")
    counts = counts if isinstance(counts, dict) else {}
    errors = found.get("errors")
    listed = errors.get("data") if isinstance(errors, dict) else None
    first = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}
    return RemoteJob(
        id=identity,
        status=status,
        input_file=str(found.get("input_file_id") or ""),
        output_file=str(found.get("output_file_id") or ""),
        error_file=str(found.get("error_file_id") or ""),
        total=_count(counts.get("total")),
        completed=_count(counts.get("completed")),
        failed=_count(counts.get("failed")),
        problem=quoted(f"{first.get('code') or ''} {first.get('message') or ''}".strip()) if first else "",
    )


def _count(found: object) -> int:
    return found if type(found) is int and found >= 0 else 0
