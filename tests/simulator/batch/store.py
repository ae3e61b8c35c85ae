"""Uploaded files and Batch jobs: what the account has, and what has become of it by now.

Nothing happens in the background: whoever looks, first lets every open job do what it would have done by the date of
the calendar (`settle`). It knows nothing of HTTP. Every method may be called from any thread.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import orjson

from tests.simulator.batch.books import BatchCounts
from tests.simulator.batch.checking import check_file
from tests.simulator.batch.creation import check_metadata, drawn_damage, window_s
from tests.simulator.batch.job import Job, standing
from tests.simulator.batch.knobs import Played
from tests.simulator.batch.output import error_lines, line_offsets, output_lines, size_bytes
from tests.simulator.batch.refusal import ApiRefusal
from tests.simulator.batch.settings import ENDPOINTS, TEST_ENDPOINT, BatchSettings
from tests.simulator.batch.shelf import Shelf, StoredFile
from tests.simulator.batch.work import worked
from tests.simulator.provider import Provider
from tests.simulator.refusals import Reason, Refused

_TEST_JOBS = 2


class Store:
    """Files and jobs of every account of `provider`."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.lock = threading.RLock()
        self.shelf = Shelf(provider.state)
        self.jobs: dict[str, Job] = {}
        self.counts = BatchCounts()
        self.played = Played()
        for event in provider.state.events():
            self._replay(event)

    @property
    def now(self) -> float:
        return self.provider.calendar.now()

    @property
    def settings(self) -> BatchSettings:
        return self.provider.settings.batch

    def clear(self) -> None:
        """No files, no jobs, nothing counted."""
        with self.lock:
            self.shelf.files.clear()
            self.jobs.clear()
            self.counts = BatchCounts()
            self.played.clear()
            self.provider.state.clear()

    def upload(self, account: str, filename: str, content: bytes) -> StoredFile:
        """The stored file. Raises ApiRefusal: too large, too many, no room."""
        with self.lock:
            file = self.shelf.put(account, filename, content, self.now, self.provider.settings.files)
            self._write(file.as_event())
            return file

    def file(self, account: str, file_id: str) -> StoredFile:
        """The file of that id. Raises ApiRefusal if the account has none."""
        with self.lock:
            self.settle()
            return self.shelf.file(account, file_id, self.now)

    def files_of(self, account: str) -> list[StoredFile]:
        """The files of an account, newest first."""
        with self.lock:
            self.settle()
            return self.shelf.files_of(account, self.now)

    def delete(self, account: str, file_id: str) -> None:
        """Forget a file. Raises ApiRefusal. The results of its jobs can be read all the same."""
        with self.lock:
            file = self.file(account, file_id)
            del self.shelf.files[file_id]
            self._write({"deleted": file_id})
            self._sweep(file.blob)

    def size_of(self, file: StoredFile) -> int:
        """The size of a file; of a result it is counted by rendering it."""
        if file.size_bytes < 0:
            file.size_bytes = size_bytes(self.lines(file))
        return file.size_bytes

    def lines(self, file: StoredFile) -> Iterator[bytes]:
        """The content, one line after the other."""
        path = self.shelf.path(file.blob)
        if file.part == "input":
            with path.open("rb") as lines:
                yield from lines
            return
        render = output_lines if file.part == "output" else error_lines
        yield from render(self.provider, self.jobs[file.job_id], path)

    def line_count(self, file: StoredFile) -> int:
        """About how many lines `lines` gives."""
        if file.part == "input":
            return len(line_offsets(self.shelf.path(file.blob)))
        outcomes = self.jobs[file.job_id].outcomes
        return sum(outcome.is_success == (file.part == "output") for outcome in outcomes)

    def downloaded(self, file: StoredFile) -> None:
        """A download of `file` has reached its end."""
        with self.lock:
            file.downloads += 1
            if file.id in self.shelf.files:
                self._write(file.as_event())

    def create(
        self, account: str, input_file_id: str, endpoint: str, window: str, metadata: dict[str, Any] | None
    ) -> Job:
        """A new job, its file not yet looked at by anyone who asks. Raises ApiRefusal, Refused (too many open jobs)."""
        with self.lock:
            if endpoint not in ENDPOINTS:
                raise ApiRefusal(400, f"The endpoint '{endpoint}' is not supported by the Batch API.", "endpoint")
            file = self.file(account, input_file_id)
            if self.now < file.created_at + self.provider.settings.files.visible_after_s:
                raise ApiRefusal(404, f"No such File object: {input_file_id}", "input_file_id")
            if file.part != "input":
                raise ApiRefusal(400, "The purpose of the input file must be 'batch'.", "input_file_id")
            lasts_s = window_s(window)
            check_metadata(metadata)
            open_jobs = self._open_jobs(account)
            tests = sum(job.endpoint == TEST_ENDPOINT for job in open_jobs)
            if len(open_jobs) >= self.settings.open_jobs or (endpoint == TEST_ENDPOINT and tests >= _TEST_JOBS):
                raise Refused(Reason.LIMIT_REQUESTS)
            checked = check_file(self.shelf.path(file.id), endpoint, self.settings)
            number = len(self.jobs) + 1
            settings = self.settings.of_job(number)
            job = Job(
                id=f"batch_{uuid.uuid4()}",
                number=number,
                account=account,
                endpoint=endpoint,
                input_file_id=input_file_id,
                completion_window=window,
                window_s=lasts_s,
                metadata=metadata,
                created_at=self.now,
                model=checked.model,
                lines=checked.lines,
                errors=checked.errors,
                is_foreign=settings.foreign_output,
            )
            job.damage = drawn_damage(job, settings, self.provider.settings.seed)
            self.jobs[job.id] = job
            self._count_new(job)
            self._write({"job": job.as_state()})
            return job

    def job(self, account: str, job_id: str) -> Job:
        """The job of that id, settled. Raises ApiRefusal if the account has none, or its days are over."""
        with self.lock:
            self.settle()
            job = self.jobs.get(job_id)
            if job is None or job.account != account or not self._is_visible(job):
                raise ApiRefusal(404, f"No such Batch object: {job_id}", "batch_id")
            return job

    def jobs_of(self, account: str) -> list[Job]:
        """The jobs of an account, newest first, settled."""
        with self.lock:
            self.settle()
            return [job for job in self.jobs.values() if job.account == account and self._is_visible(job)][::-1]

    def cancel(self, account: str, job_id: str) -> Job:
        """The job, which will be cancelled. Raises ApiRefusal if it is unknown or has ended."""
        with self.lock:
            job = self.job(account, job_id)
            if not job.is_open:
                raise ApiRefusal(400, f"Cannot cancel a batch with status '{job.status}'.", "batch_id")
            if job.cancel_asked_at is None:
                job.cancel_asked_at = self.now
                job.status = "cancelling"
                self._write({"job": job.as_state(job.done)})
            return job

    def settle(self) -> None:
        """Let every open job do what it would have done by now."""
        with self.lock:
            now = self.now
            for job in self.jobs.values():
                if job.is_open:
                    self._settle(job, now)

    def as_json(self, *, lines: bool = False) -> dict[str, object]:
        """What the books say of files and jobs (BatchCounts.as_json)."""
        with self.lock:
            self.settle()
            return self.counts.as_json(self.jobs.values(), self.shelf, lines=lines)

    def _open_jobs(self, account: str) -> list[Job]:
        return [job for job in self.jobs.values() if job.is_open and job.account == account]

    def _count_new(self, job: Job) -> None:
        self.counts.jobs_by_input_file[job.input_file_id] += 1
        self.counts.peak_open_jobs = max(self.counts.peak_open_jobs, len(self._open_jobs(job.account)))

    def _settle(self, job: Job, now: float) -> None:
        before = job.status, job.done
        reached = standing(job, now, self.settings.of_job(job.number))
        events = self._work(job, reached.done)
        job.settled_at, job.status = now, reached.status
        if reached.ended_at is not None:
            job.ended_at = reached.ended_at
            events += self._end(job)
        if before != (job.status, job.done):
            self._write(*events, {"job": job.as_state(before[1])})

    def _work(self, job: Job, done: int) -> list[dict[str, Any]]:
        """Do the lines up to `done`; the purchases that this was."""
        events: list[dict[str, Any]] = []
        if done == job.done:
            return events
        path = self.shelf.path(job.input_file_id)
        with path.open("rb") as lines:
            for number, line in enumerate(lines):
                if number >= done:
                    break
                if number >= job.done:
                    outcome, bill = worked(self.provider, job, number, orjson.loads(line))
                    job.outcomes.append(outcome)
                    events += [] if bill is None else [{"bill": bill}]
        for event in events:
            self._bill(event["bill"])
        return events

    def _end(self, job: Job) -> list[dict[str, Any]]:
        """Give the job, which has ended, its result files; the events that this was."""
        assert job.ended_at is not None
        settings = self.settings.of_job(job.number)
        job.published_at = job.ended_at + settings.result_published_after_s
        events = []
        if any(outcome.is_success for outcome in job.outcomes):
            job.output_file_id = f"file-batch_output-{uuid.uuid4()}"
            events.append(self._result(job, job.output_file_id, "output"))
        has_failed = any(not outcome.is_success for outcome in job.outcomes)
        if has_failed or (job.done < job.lines and job.not_done(settings)):
            job.error_file_id = f"file-batch_output-{uuid.uuid4()}"
            events.append(self._result(job, job.error_file_id, "errors"))
        self._sweep(job.input_file_id)
        return events

    def _result(self, job: Job, file_id: str, part: Literal["output", "errors"]) -> dict[str, Any]:
        name = f"{job.id}_{'success' if part == 'output' else 'error'}.jsonl"
        file = StoredFile(file_id, job.account, name, -1, job.published_at, job.input_file_id, part, job.id)
        self.shelf.files[file_id] = file
        return file.as_event()

    def _sweep(self, blob: str) -> None:
        self.shelf.sweep(blob, {job.input_file_id for job in self.jobs.values() if job.is_open})

    def _bill(self, bill: Mapping[str, Any]) -> None:
        name, dimensions = bill["space"]
        self.provider.books.bill(
            self.provider.clock.now(),
            (name, dimensions),
            [bytes.fromhex(digest) for digest in bill["digests"]],
            bill["tokens"],
            sound=bill["sound"],
            yuan=bill["yuan"],
            pool=bill["pool"],
        )
        if "custom_id" in bill:
            self.counts.lines_bought[bill["custom_id"]] += 1

    def _is_visible(self, job: Job) -> bool:
        return self.now < job.created_at + self.settings.visible_days * 86_400

    def _write(self, *events: Mapping[str, Any]) -> None:
        self.provider.state.write(*({**event, "at": self.now} for event in events))

    def _replay(self, event: Mapping[str, Any]) -> None:
        match event:
            case {"file": state}:
                self.shelf.files[state["id"]] = StoredFile(**state)
            case {"deleted": file_id}:
                self.shelf.files.pop(file_id, None)
            case {"job": state}:
                before = self.jobs.get(state["id"])
                job = self.jobs[state["id"]] = Job.from_state(state, before)
                if before is None:
                    self._count_new(job)
            case {"bill": bill}:
                self._bill(bill)
        passed_s = event.get("at", 0.0) - self.now
        if passed_s > 0:
            self.provider.calendar.advance(passed_s)
