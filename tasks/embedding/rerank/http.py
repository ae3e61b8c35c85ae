"""Reranking over HTTP, in any of the dialects; as many requests as the documents need, each tried once.

Requests keep to the provider's limits, which are its own for reranking, and to what its refusals teach.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from millrace.tasks.embedding.providers.client import BilledInvalidResponse
from millrace.tasks.embedding.providers.error_rules import UNEXPLAINED, is_refusal
from millrace.tasks.embedding.providers.http import Endpoint
from millrace.tasks.embedding.rate_limit.limiter import RateLimiter
from millrace.tasks.embedding.rerank.batches import RequestCapacity, rerank_in_batches
from millrace.tasks.embedding.rerank.dialects import Question, decode, dialect_of, in_order, validate_ranking
from millrace.tasks.embedding.rerank.error_rules import KEY_SETTING, rerank_rules
from millrace.tasks.embedding.rerank.inputs import Count, RerankInputs, fit
from millrace.tasks.embedding.rerank.models import RerankSpec, rerank_url
from millrace.tasks.embedding.rerank.reranker import Ranked, Reranking
from millrace.tasks.errors import ConfigurationError, TextsRefused, Throttled

_Paid = tuple[list[Ranked], int | None]
"""What a request was answered, and what was billed for it, where that is told."""


@dataclass(slots=True)
class _Bill:
    """What one call of `rerank` has asked for so far."""

    requests: int = 0
    tokens: int = 0
    untold: int = 0  # answers that do not say what they cost, though the provider's do
    last_size: int = 0
    paid: set[bytes] = field(default_factory=set)
    notices: list[str] = field(default_factory=list)


class HttpReranker:
    """One reranker with one key; implements `Reranker`."""

    def __init__(
        self,
        spec: RerankSpec,
        *,
        base_url: str,
        api_key: str,
        instruct: str,
        count: Count | None,
        timeout_s: float,
        max_connections: int,
    ) -> None:
        url = rerank_url(spec, base_url=base_url)
        asked = f"{spec.name} at {url}"
        if spec.provider != "openai" and not api_key.strip():
            message = f"{asked} needs an API key in the variable that {KEY_SETTING} names"
            raise ConfigurationError(message)
        if instruct and not spec.takes_instruct:
            message = f"rerank.instruct is set, and {spec.name} of {spec.provider} takes no instruction; leave it empty"
            raise ConfigurationError(message)
        self._spec = spec
        self._instruct = instruct
        self._count = count
        self._dialect = dialect_of(spec, url)
        # Both are learnt from refusals and kept, so that the next call is not refused again.
        self._room = RequestCapacity(spec.documents_per_request, spec.tokens_per_request)
        self._server_cuts = False
        self._paid: dict[bytes, _Paid] = {}  # of calls that failed at a later request, so that another try goes on
        self._pacer = RateLimiter(
            requests_per_minute=spec.requests_per_minute, tokens_per_minute=spec.tokens_per_minute
        )
        self._endpoint = Endpoint(
            url,
            api_key=api_key,
            asked=asked,
            url_setting="rerank.base_url",
            key_setting=KEY_SETTING,
            rules=rerank_rules(spec.provider),
            timeout_s=timeout_s,
            max_connections=max_connections,
        )

    async def rerank(self, query: str, documents: Sequence[str], *, top_n: int) -> Reranking:
        """The best of `documents`; see `Reranker.rerank`."""
        if top_n < 1:
            message = f"{top_n} best documents were asked for; expected at least 1 (search.top_n)"
            raise ConfigurationError(message)
        fitted = fit(query, documents, self._spec, instruct=self._instruct, count=self._count)
        wanted = min(top_n, len(documents))
        bill = _Bill()
        rounds = await self._rounds(fitted, min(wanted, len(fitted.texts)), bill)
        for request in bill.paid:
            self._paid.pop(request, None)
        ranked = [one for found in rounds for one in _by_document(found, fitted)][:wanted]
        worst = min((one.score for one in ranked), default=0.0)
        ranked += [Ranked(index, min(0.0, worst)) for index in fitted.blank[: wanted - len(ranked)]]
        notices = (
            *fitted.notices,
            *bill.notices,
            *self._notices(bill, [len(found) for found in rounds], len(documents)),
        )
        return Reranking(tuple(ranked), bill.tokens, notices)

    async def close(self) -> None:
        """Close every connection; requests under way fail."""
        await self._endpoint.close()

    def __repr__(self) -> str:
        return f"HttpReranker({self._endpoint.asked}, api_key=***)"

    async def _rounds(self, fitted: RerankInputs, wanted: int, bill: _Bill) -> list[list[Ranked]]:
        while True:
            try:
                return await rerank_in_batches(
                    fitted.loads, wanted=wanted, room=self._room, ask=partial(self._ask, fitted, bill)
                )
            except TextsRefused as refused:
                self._shrink_request(refused, bill)

    async def _ask(self, fitted: RerankInputs, bill: _Bill, indices: Sequence[int], keep: int) -> list[Ranked]:
        texts = [fitted.texts[index] for index in indices]
        question = Question(self._spec.name, fitted.query, texts, keep, self._instruct)
        bill.last_size = len(texts)
        body = {**self._dialect.body(question), **(self._dialect.cutting if self._server_cuts else {})}
        request = hashlib.sha256(json.dumps(body).encode()).digest()
        if request not in self._paid:
            self._paid[request] = await self._sent(body, question, tokens=sum(fitted.loads[i] for i in indices))
        ranked, billed = self._paid[request]
        if request not in bill.paid:
            bill.paid.add(request)
            bill.requests += 1
            bill.tokens += billed or 0
            bill.untold += billed is None and self._dialect.bills
        return [Ranked(indices[one.index], one.score) for one in ranked]

    async def _sent(self, body: dict[str, object], question: Question, *, tokens: int) -> _Paid:
        sent_at = await self._pacer.acquire(tokens)
        try:
            answer = await self._endpoint.post(body)
            found = decode(answer.body)
            if isinstance(found, dict) and is_refusal(found):
                raise self._endpoint.refusal(answer, found)
        except Throttled as refused:
            self._pacer.refused(refused.limit, sent_at=sent_at, tokens=tokens)
            raise
        self._pacer.answered(sent_at=sent_at)
        try:
            return validate_ranking(
                found, sent=len(question.documents), asked=question.top_n, answers=self._dialect.answers
            )
        except BilledInvalidResponse as error:
            words = f"{self._endpoint.asked}: the answer cannot be used: {error}"
            named = f" (request {answer.request_id})" if answer.request_id else ""
            raise BilledInvalidResponse(words + named, billed_tokens=error.billed_tokens) from None

    def _shrink_request(self, refused: TextsRefused, bill: _Bill) -> None:
        """Ask for less the next time. Raises `refused` if there is nothing left to yield."""
        too_much = {"text_too_long", "request_too_large"}
        if not self._spec.documents_per_request:
            too_much.add(UNEXPLAINED)  # a limit that nobody has published may be refused without a word
        if refused.reason == "text_too_long" and self._dialect.cutting and not self._server_cuts:
            self._server_cuts = True
        elif refused.reason in too_much and bill.last_size > 2:
            self._room = replace(self._room, documents=max(2, bill.last_size // 2))
        else:
            raise refused
        bill.notices.append(f"{refused}; asked again for less")

    def _notices(self, bill: _Bill, rounds: Sequence[int], documents: int) -> list[str]:
        name = self._spec.name
        notices = []
        if self._server_cuts:
            notices.append(f"the server was asked to cut what is too long for {name}; it does not say what it cut")
        if bill.requests > 1:
            bounds = [f"{bound:,} {unit}" for bound, unit in self._bounds() if bound]
            words = (
                f"{documents:,} documents are more than one request to {name} takes ({', '.join(bounds)}): asked in "
                f"{bill.requests:,} requests, the best of each against the next"
            )
            if len(rounds) > 1:
                words += (
                    f"; scores can be compared only within the first {rounds[0]:,}, the next {rounds[1]:,} and so on"
                )
            notices.append(words)
        if bill.untold:
            notices.append(f"{name} did not say what {bill.untold:,} of {bill.requests:,} requests cost")
        return notices

    def _bounds(self) -> tuple[tuple[int, str], ...]:
        return (self._room.documents, "documents"), (self._room.tokens, "tokens")


def _by_document(found: Sequence[Ranked], fitted: RerankInputs) -> list[Ranked]:
    return in_order(Ranked(index, one.score) for one in found for index in fitted.documents[one.index])
