"""The settings of files and of Batch jobs: how long things take, and what goes wrong.

`..._times` bounds how often a knob is played, counted from the last change of any setting; None is always.
Seconds are those of the calendar.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Lost = Literal["none", "reset", "408", "500", "504"]
"""What is answered instead of the answer to a request that took effect: nothing but a reset, or that status."""
ErrorForm = Literal["error_object", "error_code_message", "response_status", "mixed"]

EMBEDDINGS_ENDPOINT = "/v1/embeddings"
TEST_ENDPOINT = "/v1/chat/ds-test"
ENDPOINTS = (EMBEDDINGS_ENDPOINT, "/v1/chat/completions", TEST_ENDPOINT)


class FilesSettings(BaseModel):
    """Uploads and downloads."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_files: int = Field(default=10_000, ge=0)
    max_total_bytes: int = Field(default=100 << 30, ge=0)
    """Of the input files."""
    max_file_bytes: int = Field(default=500 << 20, ge=0)
    qps: float | None = Field(default=20, gt=0)
    """Requests to files in any second of the calendar, by account."""
    status_after_upload: Literal["processed", "uploaded"] = "processed"
    visible_after_s: float = Field(default=0.0, ge=0)
    """Until then a job cannot be created from an upload: 404."""
    answer_lost: Lost = "none"
    """The upload is stored, and its answer lost."""
    answer_lost_times: int | None = Field(default=None, ge=0)
    download_cut_at: float | None = Field(default=None, ge=0)
    """Below 1 a share of the lines, else a number of bytes."""
    download_cut_form: Literal["cut", "torn", "missing_lines"] = "cut"
    """The connection is closed without the last chunk; or the last chunk comes early, in the middle of a line or after
    a whole one."""
    download_cut_times: int | None = Field(default=None, ge=0)
    download_bytes_per_s: float | None = Field(default=None, gt=0)
    """Measured on the clock."""
    fails: Mapping[Literal["upload", "list", "retrieve", "download", "delete"], int] = Field(default_factory=dict)
    """So many requests of a kind answer 500, and do nothing."""


class Stall(BaseModel):
    """A job that does nothing for a while."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_share: float = Field(ge=0, le=1)
    """Of the lines are done when it begins."""
    for_s: float = Field(ge=0)


class BatchSettings(BaseModel):
    """Jobs. What damages an output is drawn when its job is created; its lines are billed, and in the books spoiled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = ("text-embedding-v4",)
    region: Literal["beijing", "singapore"] = "beijing"
    """Singapore has no embeddings by Batch: `model_not_found` for every line."""
    entitled: bool = True
    """An account without the right to Batch passes validation, and every line is refused."""
    open_jobs: int = Field(default=1_000, ge=0)
    create_per_minute: float | None = Field(default=1_000, gt=0)
    retrieve_per_minute: float | None = Field(default=1_000, gt=0)
    list_per_minute: float | None = Field(default=100, gt=0)
    cancel_per_minute: float | None = Field(default=1_000, gt=0)
    max_lines: int = Field(default=50_000, ge=0)
    line_bytes: int = Field(default=6 << 20, ge=1)
    """The documents say 6 MB or 1 MB."""
    visible_days: float = Field(default=30, gt=0)

    create_answer_lost: Lost = "none"
    """The job exists, and the answer that names it is lost."""
    create_answer_lost_times: int | None = Field(default=None, ge=0)
    create_fails: int = Field(default=0, ge=0)
    """So many creations answer 500, and there is no job."""
    fails: Mapping[Literal["retrieve", "list", "cancel"], int] = Field(default_factory=dict)
    """So many requests of a kind answer 500, and do nothing."""

    validate_s: float = Field(default=0.0, ge=0)
    queue_s: float | Mapping[str, float] = 0.0
    """For every model, or by model; "" stands for the others."""
    lines_per_s: float | None = Field(default=None, gt=0)
    """None: all at once."""
    stall: Stall | None = None
    counts_step: int = Field(default=1, ge=1)
    """`request_counts` move by so many lines until the job ends."""
    finalize_s: float = Field(default=0.0, ge=0)
    result_published_after_s: float = Field(default=0.0, ge=0)
    """An ended job has no file ids for so long."""
    expires_at: Literal["null", "filled"] = "null"
    expired_lines: Literal["listed", "absent"] = "listed"
    """Whether the lines that an expired job did not do are in its error file (`batch_expired`) and counted failed."""
    cancel_s: float = Field(default=0.0, ge=0)
    """Until a cancelled job stops working; one that has done everything by then is completed all the same."""

    error_form: ErrorForm = "error_object"
    shuffled: bool = True
    """The lines of the output in another order than those of the input."""
    missing_lines: int = Field(default=0, ge=0)
    duplicated_lines: int = Field(default=0, ge=0)
    malformed_lines: int = Field(default=0, ge=0)
    """Cut off in the middle."""
    unknown_ids: int = Field(default=0, ge=0)
    """Lines that stand there twice, the second time under a custom_id that nobody sent."""
    wrong_dimension: int = Field(default=0, ge=0)
    """Lines with one vector of half the length."""
    empty_last_line: bool = False
    foreign_output: bool = False
    """The output of another job: no custom_id of it was sent."""

    by_job: Mapping[int, Mapping[str, Any]] = Field(default_factory=dict)
    """Number of a job, from 1 in the order of creation -> what is otherwise for this one: `{2: {"queue_s": 600}}`."""

    @model_validator(mode="after")
    def _are_settings(self) -> Self:
        for changed in self.by_job.values():
            BatchSettings.model_validate(changed)
        return self

    def of_job(self, number: int) -> BatchSettings:
        """The settings of that job."""
        changed = self.by_job.get(number)
        return self if changed is None else BatchSettings.model_validate({**self.model_dump(), **changed})

    def queue_s_of(self, model: str) -> float:
        """How long a job of `model` waits before its first line."""
        if isinstance(self.queue_s, float):
            return self.queue_s
        return self.queue_s.get(model, self.queue_s.get("", 0.0))
