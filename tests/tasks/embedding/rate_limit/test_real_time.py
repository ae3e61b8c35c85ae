"""The pacing in real time, through the real SDK and over a real connection: what virtual time may have made too easy."""

from __future__ import annotations

import time

import pytest

from millrace.tasks.embedding.rate_limit.limiter import RateLimiter
from tests.simulator.limits import WindowKind
from tests.simulator.server import Simulator
from tests.tasks.embedding.providers.test_faults import Rows, assert_rows_are_right, buy, corpus


@pytest.mark.slow
@pytest.mark.parametrize("window", ["bucket", "sliding"])
async def test_a_few_seconds_at_the_limit_are_nearly_all_used_and_hardly_ever_refused(
    simulator: Simulator, window: WindowKind
) -> None:
    limits = {"requests_per_second": 30, "tokens_per_second": 4_000, "growth_per_second": 10, "second_window": window}
    simulator.change({"limits": limits, "latency": {"fixed_s": 0.15, "jitter_s": 0.05}})
    items, rows = corpus(1_400), Rows()
    tokens = sum(item.tokens for item in items)
    began = time.monotonic()
    _, usage = await buy(simulator, items, rows, limiter=RateLimiter(requests_per_second=30, tokens_per_second=4_000))
    took = time.monotonic() - began
    assert_rows_are_right(rows, items)
    # Virtual time holds the exact bounds; these leave room for a machine that does something else as well.
    assert usage.requests_throttled <= (0.01 if window == "bucket" else 0.05) * usage.requests_sent
    assert took <= 1.2 * tokens / 4_000 + 2.0
