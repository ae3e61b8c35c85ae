"""What embedding some texts will take: requests, tokens, yuan and time, from the model's figures alone."""

from dataclasses import dataclass

from millrace.tasks.embedding.dispatch.packing import fitting_texts
from millrace.tasks.embedding.dispatch.usage import cost_cny
from millrace.tasks.embedding.models import ModelSpec
from millrace.tasks.embedding.rate_limit.limiter import growth_per_s


@dataclass(frozen=True, slots=True)
class Estimate:
    """`seconds` is the least that the rate limits allow, None without limits."""

    texts: int
    requests: int
    tokens: int
    cost_cny: float
    batch_cost_cny: float
    seconds: float | None


class Estimator:
    """Adds up texts one by one, in the order of sending; memory does not grow."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._texts = 0
        self._tokens = 0
        self._requests = 0
        self._open: list[int] = []

    def add(self, tokens: int) -> None:
        """Count a text that is billed `tokens` tokens, the end mark among them."""
        self._texts += 1
        self._tokens += tokens
        self._open.append(tokens)
        fitting, full = fitting_texts(
            self._open,
            texts_per_request=self._spec.texts_per_request,
            tokens_per_request=self._spec.tokens_per_request,
        )
        if full:
            self._requests += 1
            del self._open[:fitting]

    def estimate(self) -> Estimate:
        """The sums so far, as if no further text came."""
        spec = self._spec
        requests = self._requests + bool(self._open)
        return Estimate(
            texts=self._texts,
            requests=requests,
            tokens=self._tokens,
            cost_cny=cost_cny(self._tokens, spec.price_cny_per_1k_tokens),
            batch_cost_cny=cost_cny(self._tokens, spec.batch_price_cny_per_1k_tokens),
            seconds=least_seconds(spec, requests, self._tokens),
        )


def least_seconds(spec: ModelSpec, requests: int, tokens: int) -> float | None:
    """The longest time that any one limit would take, plus half the time of the ramp-up to the request rate."""
    rates = [
        (requests, spec.requests_per_second),
        (requests, spec.requests_per_minute / 60),
        (tokens, spec.tokens_per_second),
        (tokens, spec.tokens_per_minute / 60),
    ]
    steady_s = max((amount / rate for amount, rate in rates if rate), default=0.0)
    if not any(rate for _, rate in rates):
        return None
    if not steady_s:
        return 0.0
    return steady_s + requests / steady_s / growth_per_s(spec.requests_per_second) / 2
