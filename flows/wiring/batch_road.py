"""Which texts go by Batch: where it is to be had, whether it pays, and until when there is a way back."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from statistics import median

from millrace.configs.deadline import deadline_of
from millrace.configs.settings import Settings
from millrace.flows.wiring.embedding_model import Model
from millrace.tasks.embedding import ModelSpec, cost_cny, least_seconds, official_endpoint
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.lake import BatchJob

WORTH_CNY = 0.10
"""Batch takes hours; below this saving nobody waits for it."""

MARGIN_S = 300.0
"""Kept before the last moment of the way back, for the end of jobs that are cancelled."""

_OFFICIAL_POLL_S = 60.0
_SLACK = 1.05
"""The synchronous road is assumed to take so much longer than its limits say."""


def why_not(settings: Settings, model: Model) -> str:
    """Why the texts of these settings cannot go by Batch; "" when they can, as far as the catalogue knows."""
    spec, embedding = model.spec, settings.embedding
    if not spec.batch_price_cny_per_1k_tokens:
        where = f" in {spec.region}" if spec.region else ""
        return f"there is no Batch for {spec.name} of provider {spec.provider}{where}"
    if embedding.api != "compatible":
        return 'Batch is of the compatible API only, and embedding.api is "native"'
    if model.space.text_type or model.space.instruct or model.space.sparse:
        return "Batch takes neither embedding.text_type nor instructions, and gives no sparse vectors"
    return ""


def saving_cny(spec: ModelSpec, tokens: int) -> float:
    """How much less so many tokens cost by Batch, in yuan."""
    return cost_cny(tokens, spec.price_cny_per_1k_tokens) - cost_cny(tokens, spec.batch_price_cny_per_1k_tokens)


def seconds_at_once(spec: ModelSpec, tokens: int, requests: int) -> float:
    """How long so many tokens in so many requests take over the synchronous road, by its limits and some slack."""
    return _SLACK * (least_seconds(spec, requests, tokens) or 0.0)


def why_at_once(settings: Settings, spec: ModelSpec, tokens: int, requests: int, *, left_s: float | None) -> str:
    """Why texts of so many tokens are not sent by Batch, by "auto"; "" when they are, or there are none.

    `left_s` is the time until every vector must be there, None without a deadline.
    """
    if settings.embedding.road == "always" or not tokens:
        return ""
    if (saved := saving_cny(spec, tokens)) < WORTH_CNY:
        return f"Batch would save ¥{saved:.4f}, less than ¥{WORTH_CNY:.2f}"
    if left_s is not None and seconds_at_once(spec, tokens, requests) + MARGIN_S >= left_s:
        return "Batch leaves no way back before the deadline"
    return ""


def deadline_in(settings: Settings, now: datetime) -> datetime | None:
    """The moment that `embedding.deadline` names; None where it is empty. Raises ConfigurationError."""
    text = settings.embedding.deadline
    try:
        return deadline_of(text, now) if text else None
    except ValueError as error:
        raise ConfigurationError(f"embedding.deadline = {text!r}: {error}") from None


def poll_s(settings: Settings, spec: ModelSpec) -> float:
    """Seconds between two questions about one job: at an official host never less than it asks for."""
    official = official_endpoint(settings.embedding.base_url, spec.provider)
    return max(settings.embedding.batch_poll_s, _OFFICIAL_POLL_S if official else 0.0)


def account_of_key(api_key: str) -> str:
    """What tells one key from another without being one."""
    return sha256(api_key.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Experience:
    """How long the completed jobs of a lake took, in seconds; there is no other knowledge of the queue."""

    jobs: int
    median_s: float
    longest_s: float

    @classmethod
    def of(cls, jobs: Iterable[BatchJob]) -> "Experience | None":
        """That of completed jobs; None without any."""
        took = [
            (datetime.fromisoformat(job.ended) - datetime.fromisoformat(job.submitted)).total_seconds()
            for job in jobs
            if job.remote == "completed" and job.ended and job.submitted
        ]
        return cls(len(took), median(took), max(took)) if took else None


def job_words(job: BatchJob) -> str:
    """Where a job is, for people."""
    if job.state == "open":
        done = f", {job.lines_done:,} of {job.lines:,} lines done" if job.lines_done else ""
        return f"{job.remote}{done}"
    if job.state == "settled":
        return f"settled: {job.answered:,} of {job.texts:,} texts, ¥{job.cost_cny:.4f}"
    return f"{job.state}: {job.problem}" if job.problem else job.state
