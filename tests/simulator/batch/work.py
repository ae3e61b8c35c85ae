"""One line of a job, done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tests.simulator.batch.job import SPOILING, Job, Outcome
from tests.simulator.batch.settings import TEST_ENDPOINT
from tests.simulator.dialects.compatible import asked_for
from tests.simulator.dialects.compatible_errors import CompatibleVoice
from tests.simulator.provider import Provider
from tests.simulator.refusals import Reason, Refused

PRICE_SHARE = 0.5
"""Of the price in real time."""


def worked(
    provider: Provider, job: Job, number: int, request: Mapping[str, Any]
) -> tuple[Outcome, dict[str, Any] | None]:
    """What became of line `number` (from 0), and the purchase that it was, if it was one."""
    custom_id = request["custom_id"]
    if job.endpoint == TEST_ENDPOINT:
        return Outcome(custom_id), None
    try:
        if not provider.settings.batch.of_job(job.number).entitled:
            raise Refused(Reason.ACCESS_DENIED)
        order = asked_for(provider, request["body"]).order(provider, job.account)
    except Refused as refused:
        answer = CompatibleVoice().refusal(refused, "")
        error = orjson.loads(answer.body)["error"]
        return Outcome(custom_id, 0, answer.status, error["code"], error["message"]), None
    sound = not job.is_foreign and job.damage.get(number) not in SPOILING
    bill = order.bill_event(sound=sound, pool="batch", yuan=order.yuan * PRICE_SHARE)
    return Outcome(custom_id, order.tokens), {**bill, "custom_id": custom_id}
