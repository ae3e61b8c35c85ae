"""Batch jobs: `POST` and `GET {prefix}/batches`, `GET {prefix}/batches/{id}`, `POST {prefix}/batches/{id}/cancel`.

A line of the input is answered as `POST {prefix}/embeddings` answers it, without limits of requests and tokens and at
half the price; a refused one costs nothing. `/v1/chat/ds-test` with the model `batch-test-model` is free. Jobs live by
the calendar (`POST /__clock__` advances it); how long things take and what goes wrong is in `settings.batch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qs

from tests.simulator.batch.job import Job, job_object
from tests.simulator.batch.refusal import ApiRefusal
from tests.simulator.dialects.dialect import json_object
from tests.simulator.dialects.file_api import FileApi, Handler, json_response, page_limit
from tests.simulator.limits import Limits
from tests.simulator.refusals import Reason, Refused
from tests.simulator.wire import Request, Response

CHINA = timezone(timedelta(hours=8))
_PAGE, _MOST = 20, 100
_MOST_INPUT_FILES = 20


class Batches(FileApi):
    """Jobs: created, looked at, listed, cancelled."""

    paths = ("/batches", "/batches/{id}", "/batches/{id}/cancel")

    def operations(self) -> Mapping[tuple[str, str], tuple[str, Handler]]:
        return {
            ("POST", "/batches"): ("create", self._create),
            ("GET", "/batches"): ("list", self._list),
            ("GET", "/batches/{id}"): ("retrieve", self._retrieve),
            ("POST", "/batches/{id}/cancel"): ("cancel", self._cancel),
        }

    def limits(self, operation: str) -> tuple[str, Limits]:
        per_minute: float | None = getattr(self.store.settings, f"{operation}_per_minute")
        return operation, Limits(requests_per_minute=per_minute, minute_window="sliding")

    def failures(self) -> Mapping[str, int]:
        fails = {str(name): times for name, times in self.store.settings.fails.items()}
        return {"create": self.store.settings.create_fails, **fails}

    def _create(self, account: str, request: Request) -> Response:
        body = json_object(request)
        fields = (body.get(name) for name in ("input_file_id", "endpoint", "completion_window"))
        input_file_id, endpoint, window = (value if isinstance(value, str) else "" for value in fields)
        metadata = body.get("metadata")
        if metadata is not None and not isinstance(metadata, dict):
            raise Refused(Reason.BAD_BODY)
        job = self.store.create(account, input_file_id, endpoint, window, metadata)
        settings = self.store.settings.of_job(job.number)
        return self.lost(
            "batch.create_answer_lost",
            settings.create_answer_lost,
            settings.create_answer_lost_times,
            self._told(job),
        )

    def _retrieve(self, account: str, request: Request) -> Response:
        return self._told(self.store.job(account, request.parameters["id"]))

    def _cancel(self, account: str, request: Request) -> Response:
        return self._told(self.store.cancel(account, request.parameters["id"]))

    def _list(self, account: str, request: Request) -> Response:
        query = {name: values[-1] for name, values in parse_qs(request.query).items()}
        limit = page_limit(query.get("limit", ""), _PAGE, _MOST)
        jobs = [job for job in self.store.jobs_of(account) if _is_wanted(job, query)]
        if (after := query.get("after")) is not None:
            ids = [job.id for job in jobs]
            jobs = jobs[ids.index(after) + 1 :] if after in ids else []
        page = jobs[:limit]
        return json_response(
            {
                "object": "list",
                "data": [self._object(job) for job in page] or None,
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
                "has_more": len(jobs) > limit,
            }
        )

    def _told(self, job: Job) -> Response:
        return json_response(self._object(job))

    def _object(self, job: Job) -> dict[str, object]:
        with self.store.lock:
            return job_object(job, self.store.now, self.store.settings.of_job(job.number))


def _is_wanted(job: Job, query: Mapping[str, str]) -> bool:
    """Whether a listing with this query has the job. Raises ApiRefusal."""
    if (ids := query.get("input_file_ids")) is not None:
        wanted = ids.split(",")
        if len(wanted) > _MOST_INPUT_FILES:
            raise ApiRefusal(400, f"input_file_ids must be at most {_MOST_INPUT_FILES}.", "input_file_ids")
        if job.input_file_id not in wanted:
            return False
    if (statuses := query.get("status")) is not None and job.status not in statuses.split(","):
        return False
    if query.get("ds_name", "") not in str((job.metadata or {}).get("ds_name", "")):
        return False
    created = datetime.fromtimestamp(int(job.created_at), UTC)
    after, before = (_date(query, name) for name in ("create_after", "create_before"))
    return (after is None or created >= after) and (before is None or created <= before)


def _date(query: Mapping[str, str], name: str) -> datetime | None:
    """A date of the query, which is in China's time. Raises ApiRefusal."""
    text = query.get(name)
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=CHINA)
    except ValueError as error:
        raise ApiRefusal(400, f"{name} must be yyyyMMddHHmmss.", name) from error
