"""How long to wait after a failure, and when waiting is no use: policy over what a run has seen of its provider.

Pure: the time is given, nothing sleeps here.
"""

import math
import random
from dataclasses import dataclass

from millrace.tasks.embedding.dispatch.queue import Request
from millrace.tasks.embedding.providers.client import Unreachable
from millrace.tasks.embedding.providers.error_rules import UNEXPLAINED
from millrace.tasks.errors import InvalidResponse, MillraceError, ProviderStopped, TextsRefused, Throttled, Transient


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long the dispatcher tries. Times in seconds.

    After a 429 it waits `longest_throttled_s` at most: a minute's limit has room again within the minute, and being
    refused costs nothing. After other failures `longest_backoff_s`.

    A provider that was reached once is waited for without end; one that was never reached within `give_up_tries` tries
    and `give_up_s` is most likely a wrong address. `unproven_tries` unusable answers, or
    `max_failures_beside_successes` failures while other requests succeed, are put down to the texts.
    `max_unusable_rounds` rounds of unusable answers, with no usable one between them, stop the run: they cost
    money. A request that is not full waits `linger_s` for more texts while
    nothing else goes on. At the end, requests under way have `grace_s` to be answered.
    """

    first_backoff_s: float = 0.5
    longest_backoff_s: float = 60.0
    longest_throttled_s: float = 8.0
    give_up_tries: int = 5
    give_up_s: float = 15.0
    unproven_tries: int = 4
    max_failures_beside_successes: int = 3
    max_unusable_rounds: int = 8
    linger_s: float = 1.0
    grace_s: float = 10.0

    def backoff_s(self, tries: int) -> float:
        """Seconds to wait after the `tries`-th failure (from 1): doubling, with jitter so that retries spread out."""
        longest = min(self.longest_backoff_s, self.first_backoff_s * 2.0 ** min(tries - 1, 30))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreading retries is no cryptography

    def suspects(self, request: Request) -> bool:
        """Whether the failures of `request` tell against its texts rather than against the provider."""
        return request.unproven >= self.unproven_tries or request.in_vain >= self.max_failures_beside_successes

    def verdict(self, request: Request, failure: Transient) -> TextsRefused | None:
        """The refusal to settle a single text with that is suspected after `failure`; None to try it again."""
        if isinstance(failure, Throttled) or not self.suspects(request):
            return None
        reason = "answer_unproven" if isinstance(failure, InvalidResponse) else "provider_fails_on_text"
        remedy = "run again later; if it fails again, look at the text"
        return TextsRefused(str(failure), reason=reason, remedy=remedy)

    def wait_s(self, request: Request, failure: Transient) -> float:
        """Seconds until `request` is tried again: what the provider asks for, if that is longer than the backoff."""
        return max(self.pause_s(request.tries, failure), failure.retry_after_s or 0.0)

    def pause_s(self, tries: int, failure: Transient | None) -> float:
        """Seconds to wait after the `tries`-th failure, a 429 or not."""
        longest_s = self.longest_throttled_s if isinstance(failure, Throttled) else self.longest_backoff_s
        return min(self.backoff_s(tries), longest_s)


class ProviderHealth:
    """What a run knows of its provider: whether it ever answered, and how long it has been failing."""

    def __init__(self, patience: RetryPolicy) -> None:
        self._patience = patience
        self._reached = False
        self._unreached = 0
        self._first_failure_at = math.inf
        self._useless_rounds = 0
        self._useless_at = -math.inf
        self._rounds = 0
        self._round_at = -math.inf
        self._last_answer_at = -math.inf

    @property
    def circuit_open(self) -> bool:
        """Whether three rounds of requests in succession have failed, each sent after the one before it had."""
        return self._rounds >= 3

    def answered_since(self, sent_at: float) -> bool:
        """Whether a usable answer came after `sent_at`."""
        return self._last_answer_at > sent_at

    def answered(self, now: float) -> None:
        """A usable answer came."""
        self._reached = True
        self._last_answer_at = now
        self._useless_rounds = self._rounds = 0

    def failed(self, failure: Transient, *, now: float, sent_at: float) -> ProviderStopped | None:
        """A request that went at `sent_at` failed; the error to stop with if waiting is no use."""
        self._first_failure_at = min(self._first_failure_at, now)
        if sent_at >= self._round_at:
            # Requests that were under way together tell of one moment, however many they are.
            self._rounds += 1
            self._round_at = now
        if isinstance(failure, InvalidResponse):
            return self._useless(failure, now, sent_at)
        if not isinstance(failure, Unreachable):
            self._reached = True
            return None
        self._unreached += 1
        for_s = now - self._first_failure_at
        if self._reached or self._unreached < self._patience.give_up_tries or for_s < self._patience.give_up_s:
            return None
        message = f"no answer in {self._unreached} tries over {for_s:.0f} s, and none before: {failure}"
        return ProviderStopped(message)

    def refused(self, refusal: TextsRefused, *, now: float, sent_at: float) -> ProviderStopped | None:
        """A request was refused for its texts; the error to stop with if it seems to be for something else.

        A refusal that names no cause, in a run that never had an answer, may be meant for every request; taken for the
        texts', it would reject them all, one by one.
        """
        self._reached = True
        if refusal.reason != UNEXPLAINED or self._last_answer_at > -math.inf:
            return None
        return self._useless(refusal, now, sent_at)

    def _useless(self, answer: MillraceError, now: float, sent_at: float) -> ProviderStopped | None:
        self._reached = True
        if sent_at >= self._useless_at:
            self._useless_rounds += 1
            self._useless_at = now
        if self._useless_rounds < self._patience.max_unusable_rounds:
            return None
        message = f"nothing but useless answers, {self._useless_rounds} times in a row; the last: {answer}"
        return ProviderStopped(message)

    def pause_s(self, failure: Transient | None = None) -> float:
        """Seconds for which no request should go: the provider fails all of them, or asked for it; 0 for neither."""
        asked_s = failure.retry_after_s or 0.0 if isinstance(failure, Throttled) else 0.0
        return max(asked_s, self._patience.pause_s(self._rounds - 1, failure) if self.circuit_open else 0.0)
