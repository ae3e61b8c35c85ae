"""How long to wait after a failure, when to blame the texts, and when to give up. Pure: nothing here sleeps."""

import math
import random
from dataclasses import dataclass

from millrace.tasks.embedding.dispatch.queue import Request
from millrace.tasks.embedding.providers.client import LostAnswer, Unreachable
from millrace.tasks.embedding.providers.error_rules import UNEXPLAINED_REFUSAL
from millrace.tasks.errors import InvalidResponse, MillraceError, ProviderStopped, TextsRefused, Throttled, Transient


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long the dispatcher tries. Times in seconds.

    The longest backoff is `longest_throttled_s` after a 429 (a limit per minute frees up within the minute, and a
    refusal costs nothing) and `longest_backoff_s` after any other failure.

    A provider that was reached once is waited for without end; one that was not reached within `give_up_tries` tries
    and `give_up_s` is most likely a wrong address. `max_invalid_responses` unusable answers, or
    `max_failures_beside_successes` failures while other requests succeed, are blamed on the texts.
    `max_unusable_rounds` rounds of unusable answers in a row stop the run, because each costs money; so do
    `max_lost_rounds` rounds of lost answers, each of which may cost money. A request that is not full waits `linger_s`
    for more texts while nothing else is in flight. At the end, requests in flight have `grace_s` to be answered.
    """

    first_backoff_s: float = 0.5
    longest_backoff_s: float = 60.0
    longest_throttled_s: float = 8.0
    give_up_tries: int = 5
    give_up_s: float = 15.0
    max_invalid_responses: int = 4
    max_failures_beside_successes: int = 3
    max_unusable_rounds: int = 8
    max_lost_rounds: int = 30
    linger_s: float = 1.0
    grace_s: float = 10.0

    def backoff_s(self, tries: int) -> float:
        """Seconds to wait after the `tries`-th failure (from 1): doubling, with jitter so that retries spread out."""
        longest = min(self.longest_backoff_s, self.first_backoff_s * 2.0 ** min(tries - 1, 30))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreading retries is no cryptography

    def blames_texts(self, request: Request) -> bool:
        """Whether the failures of `request` point at its texts rather than at the provider."""
        return (
            request.invalid_responses >= self.max_invalid_responses
            or request.failures_beside_successes >= self.max_failures_beside_successes
        )

    def rejection(self, request: Request, failure: Transient) -> TextsRefused | None:
        """The refusal for a single text that is to blame for `failure`; None to try it again."""
        if isinstance(failure, Throttled) or not self.blames_texts(request):
            return None
        reason = "answer_unproven" if isinstance(failure, InvalidResponse) else "provider_fails_on_text"
        remedy = "run again later; if it fails again, look at the text"
        return TextsRefused(str(failure), reason=reason, remedy=remedy)

    def wait_s(self, request: Request, failure: Transient) -> float:
        """Seconds until `request` is tried again: the backoff, or longer if the provider asks for it."""
        return max(self.pause_s(request.tries, failure), failure.retry_after_s or 0.0)

    def pause_s(self, tries: int, failure: Transient | None) -> float:
        """Seconds of backoff after the `tries`-th failure, a 429 or not."""
        longest_s = self.longest_throttled_s if isinstance(failure, Throttled) else self.longest_backoff_s
        return min(self.backoff_s(tries), longest_s)


class ProviderHealth:
    """A circuit breaker: whether the provider ever answered, and for how many rounds it has failed every request."""

    def __init__(self, retry_policy: RetryPolicy) -> None:
        self._policy = retry_policy
        self._reached = False
        self._unreached = 0
        self._first_failure_at = math.inf
        self._unusable_rounds = 0
        self._unusable_at = -math.inf
        self._rounds = self._lost_rounds = 0
        self.failing_since = math.inf  # when the first of the present rounds failed
        self._round_at = -math.inf
        self._last_answer_at = -math.inf

    @property
    def circuit_open(self) -> bool:
        """Whether three rounds of requests in a row have failed, each sent after the round before had failed."""
        return self._rounds >= 3

    def answered_since(self, sent_at: float) -> bool:
        """Whether a usable answer came after `sent_at`."""
        return self._last_answer_at > sent_at

    def answered(self, now: float) -> None:
        """Record a usable answer."""
        self._reached = True
        self._last_answer_at = now
        self._unusable_rounds = self._rounds = self._lost_rounds = 0

    def failed(self, failure: Transient, *, now: float, sent_at: float) -> ProviderStopped | None:
        """Record the failure of a request sent at `sent_at`; the error to stop with if waiting is useless."""
        self._first_failure_at = min(self._first_failure_at, now)
        if sent_at >= self._round_at:
            # Requests that were in flight together count once, however many there are.
            self._rounds += 1
            self.failing_since = now if self._rounds == 1 else self.failing_since
            self._lost_rounds = self._lost_rounds + 1 if isinstance(failure, LostAnswer) else 0
            self._round_at = now
        if isinstance(failure, InvalidResponse):
            return self._unusable(failure, now, sent_at)
        if not isinstance(failure, Unreachable):
            self._reached = True
            if self._lost_rounds < self._policy.max_lost_rounds:
                return None
            message = f"{self._lost_rounds} times in a row no whole answer, and each may be billed; the last: {failure}"
            return ProviderStopped(message)
        self._unreached += 1
        for_s = now - self._first_failure_at
        if self._reached or self._unreached < self._policy.give_up_tries or for_s < self._policy.give_up_s:
            return None
        message = f"no answer in {self._unreached} tries over {for_s:.0f} s, and none before: {failure}"
        return ProviderStopped(message)

    def refused(self, refusal: TextsRefused, *, now: float, sent_at: float) -> ProviderStopped | None:
        """Record a refusal of a request's texts; the error to stop with if the texts are probably not the cause.

        A refusal without a cause, in a run that has had no answer yet, may concern every request; blamed on the texts,
        it would reject them all, one by one.
        """
        self._reached = True
        if refusal.reason != UNEXPLAINED_REFUSAL or self._last_answer_at > -math.inf:
            return None
        return self._unusable(refusal, now, sent_at)

    def _unusable(self, answer: MillraceError, now: float, sent_at: float) -> ProviderStopped | None:
        self._reached = True
        if sent_at >= self._unusable_at:
            self._unusable_rounds += 1
            self._unusable_at = now
        if self._unusable_rounds < self._policy.max_unusable_rounds:
            return None
        message = f"nothing but unusable answers, {self._unusable_rounds} times in a row; the last: {answer}"
        return ProviderStopped(message)

    def pause_s(self, failure: Transient | None = None) -> float:
        """Seconds during which nothing should be sent: every request fails, or the provider asked for it; else 0."""
        asked_s = failure.retry_after_s or 0.0 if isinstance(failure, Throttled) else 0.0
        return max(asked_s, self._policy.pause_s(self._rounds - 1, failure) if self.circuit_open else 0.0)
