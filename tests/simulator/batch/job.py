"""One job: what is known of it, where it stands at a moment, and the object that tells it.

The dates are as recorded from the real server: `in_progress_at` is `created_at` even while the job queues,
`finalizing_at` is `completed_at`, `failed_at` of a refused file is `created_at`, `cancelling_at` is null until it is
`cancelled_at`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from tests.simulator.batch.settings import BatchSettings

Status = Literal["validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"]
ENDED: frozenset[Status] = frozenset({"completed", "failed", "expired", "cancelled"})
# Dates are near 2e9: what is due at a date must not be missed for the last bit of a float.
_SLACK_S = 1e-5

LineDamage = Literal["missing", "duplicated", "malformed", "unknown_id", "wrong_dimension"]
SPOILING: frozenset[LineDamage] = frozenset({"missing", "malformed", "wrong_dimension"})
"""Of these the texts cannot be had, or not all."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one line."""

    custom_id: str
    tokens: int = 0
    status: int = 200
    code: str = ""
    message: str = ""

    @property
    def is_success(self) -> bool:
        return self.status == 200


@dataclass(slots=True)
class Job:
    """A job as it was left when it was last looked at (`settled_at`)."""

    id: str
    number: int
    """From 1, in the order of creation."""
    account: str
    endpoint: str
    input_file_id: str
    completion_window: str
    window_s: float
    metadata: dict[str, Any] | None
    created_at: float
    model: str = ""
    lines: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    """Why its file is refused."""
    damage: dict[int, LineDamage] = field(default_factory=dict)
    """Line from 0 -> what becomes of it in the output."""
    is_foreign: bool = False
    status: Status = "validating"
    outcomes: list[Outcome] = field(default_factory=list)
    """Of the lines done, from the first."""
    cancel_asked_at: float | None = None
    settled_at: float = 0.0
    ended_at: float | None = None
    published_at: float = 0.0
    """When an ended job gets its file ids."""
    output_file_id: str | None = None
    error_file_id: str | None = None

    @property
    def is_open(self) -> bool:
        return self.status not in ENDED

    @property
    def done(self) -> int:
        return len(self.outcomes)

    def not_done(self, settings: BatchSettings) -> tuple[str, str] | None:
        """Code and message of the lines that the error file lists as not done; None if it lists none."""
        if self.status == "cancelled":
            return "batch_cancelled", "This request was not executed because the batch was cancelled."
        if self.status == "expired" and settings.expired_lines == "listed":
            return "batch_expired", "This request could not be executed before the completion window expired."
        return None

    def as_state(self, since: int = 0) -> dict[str, Any]:
        """Everything for the state file, but of the outcomes only those from line `since` on."""
        damage = {str(line): damage for line, damage in self.damage.items()}
        return {**asdict(replace(self, outcomes=self.outcomes[since:])), "damage": damage}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], before: Job | None) -> Job:
        """The job that `as_state` gave, with the outcomes that it had before."""
        damage = {int(line): damage for line, damage in state["damage"].items()}
        known = before.outcomes if before else []
        outcomes = [*known, *(Outcome(**outcome) for outcome in state["outcomes"])]
        return cls(**{**state, "damage": damage, "outcomes": outcomes})


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a job stands at a moment."""

    status: Status
    done: int
    ended_at: float | None = None


def standing(job: Job, now: float, settings: BatchSettings) -> Standing:
    """Where `job`, not yet ended, stands at `now`."""
    now += _SLACK_S
    valid_at = job.created_at + settings.validate_s
    if now < valid_at and job.cancel_asked_at is None:
        return Standing("validating", 0)
    if now >= valid_at and job.errors:
        return Standing("failed", 0, job.created_at)
    begins_at = valid_at + settings.queue_s_of(job.model)
    all_done_at = begins_at + _all_done_after_s(job.lines, settings)
    ends: list[tuple[float, Status]] = [
        (all_done_at + settings.finalize_s, "completed"),
        (math.inf if job.cancel_asked_at is None else job.cancel_asked_at + settings.cancel_s, "cancelled"),
        (job.created_at + job.window_s, "expired"),
    ]
    ends_at, end = min(ends, key=lambda one: one[0])
    if now >= ends_at:
        # Settings that were changed may put the end before the last look, at which it had not come.
        ended_at = max(ends_at, job.settled_at)
        done = job.lines if end == "completed" else _done_after(ends_at - begins_at, job.lines, settings)
        return Standing(end, max(done, job.done), ended_at)
    done = max(_done_after(now - begins_at, job.lines, settings), job.done)
    if job.cancel_asked_at is not None:
        return Standing("cancelling", done)
    return Standing("finalizing" if done == job.lines else "in_progress", done)


def _all_done_after_s(lines: int, settings: BatchSettings) -> float:
    stalled_s = settings.stall.for_s if settings.stall else 0.0
    return stalled_s + (lines / settings.lines_per_s if settings.lines_per_s else 0.0)


def _done_after(elapsed_s: float, lines: int, settings: BatchSettings) -> int:
    """Lines done when `elapsed_s` have passed since the job left the queue."""
    if elapsed_s < 0:
        return 0
    stall, rate = settings.stall, settings.lines_per_s
    before_stall = math.ceil(stall.at_share * lines) if stall else lines
    stalled_from_s = before_stall / rate if rate else 0.0
    if stall and elapsed_s >= stalled_from_s:
        elapsed_s -= stall.for_s
        if elapsed_s < stalled_from_s:
            return before_stall
    return lines if rate is None else min(lines, math.floor((elapsed_s + _SLACK_S) * rate))


def job_object(job: Job, now: float, settings: BatchSettings) -> dict[str, Any]:
    """The job as `GET /batches/{id}` tells it."""
    is_published = now >= job.published_at
    ended = {status: _date(job.ended_at) if job.status == status else None for status in ENDED}
    return {
        "id": job.id,
        "object": "batch",
        "endpoint": job.endpoint,
        "errors": {"object": "list", "data": job.errors} if job.status == "failed" else None,
        "input_file_id": job.input_file_id,
        "completion_window": job.completion_window,
        "status": job.status,
        "output_file_id": job.output_file_id if is_published else None,
        "error_file_id": job.error_file_id if is_published else None,
        "created_at": _date(job.created_at),
        "in_progress_at": None if job.status in {"validating", "failed"} else _date(job.created_at),
        "expires_at": _date(job.created_at + job.window_s) if settings.expires_at == "filled" else None,
        "finalizing_at": ended["completed"],
        "completed_at": ended["completed"],
        "failed_at": ended["failed"],
        "expired_at": ended["expired"],
        "cancelling_at": ended["cancelled"],
        "cancelled_at": ended["cancelled"],
        "request_counts": _counts(job, settings),
        "metadata": job.metadata,
    }


def _counts(job: Job, settings: BatchSettings) -> dict[str, int]:
    if job.status in {"validating", "failed"}:
        return {"total": 0, "completed": 0, "failed": 0}
    seen = job.done if not job.is_open else job.done // settings.counts_step * settings.counts_step
    completed = sum(outcome.is_success for outcome in job.outcomes[:seen])
    failed = seen - completed + (job.lines - job.done if job.not_done(settings) else 0)
    return {"total": job.lines, "completed": completed, "failed": failed}


def _date(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)
