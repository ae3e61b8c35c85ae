"""Reranking over HTTP, in any dialect, in as many requests as the documents need, each tried once.

Requests keep to the provider's limits for reranking, and to what is learned from its refusals.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from millrace.tasks.embedding.dispatch.usage import is_absurdly_more
from millrace.tasks.embedding.providers.client import BilledInvalidResponse
from millrace.tasks.embedding.providers.error_rules import UNEXPLAINED_REFUSAL, is_refusal
from millrace.tasks.embedding.providers.http import Endpoint
from millrace.tasks.embedding.rate_limit.limiter import RateLimiter
from millrace.tasks.embedding.rerank.batches import RequestCapacity, rerank_in_batches
from millrace.tasks.embedding.rerank.dialects import RerankRequest, decode, dialect_of, in_order, validate_ranking
from millrace.tasks.embedding.rerank.error_rules import KEY_SETTING, rerank_rules
from millrace.tasks.embedding.rerank.inputs import Count, RerankInputs, prepare_inputs
from millrace.tasks.embedding.rerank.models import RerankSpec, rerank_url
from millrace.tasks.embedding.rerank.reranker import Ranked, Reranking
from millrace.tasks.errors import ConfigurationError, TextsRefused, Throttled

_Answered = tuple[list[Ranked], int | None]
"""The ranking that a request was answered, and its billed tokens, None if unknown."""


_ANSWER_BYTES = 1 << 20
"""Bound on an answer, beside what returning the documents takes."""


@dataclass(slots=True)
class _CallUsage:
    """What one call of `rerank` has used so far."""

    requests: int = 0
    tokens: int = 0
    answers_without_usage: int = 0  # although the provider reports it
    last_size: int = 0
    answered: set[bytes] = field(default_factory=set)
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
        target = f"{spec.name} at {url}"
        if spec.provider != "openai" and not api_key.strip():
            message = f"{target} needs an API key in the variable that {KEY_SETTING} names"
            raise ConfigurationError(message)
        if instruct and not spec.takes_instruct:
            message = f"rerank.instruct is set, and {spec.name} of {spec.provider} takes no instruction; leave it empty"
            raise ConfigurationError(message)
        self._spec = spec
        self._instruct = instruct
        self._count = count
        self._dialect = dialect_of(spec, url)
        # Both are learned from refusals and kept, so that the next call is not refused again.
        self._capacity = RequestCapacity(spec.documents_per_request, spec.tokens_per_request)
        self._server_truncates = False
        # Requests of calls that failed at a later one, so that a repeated call does not send them again.
        self._answered: dict[bytes, _Answered] = {}
        self._limiter = RateLimiter(
            requests_per_minute=spec.requests_per_minute, tokens_per_minute=spec.tokens_per_minute
        )
        self._endpoint = Endpoint(
            url,
            api_key=api_key,
            target=target,
            url_setting="rerank.base_url",
            key_setting=KEY_SETTING,
            rules=rerank_rules(spec.provider),
            timeout_s=timeout_s,
            max_connections=max_connections,
        )

    async def rerank(self, query: str, documents: Sequence[str], *, top_n: int) -> Reranking:
        """The best of `documents`; see `Reranker.rerank`."""
        if top_n < 1:
            message = f"search.top_n is {top_n}; it must be at least 1"
            raise ConfigurationError(message)
        inputs = prepare_inputs(query, documents, self._spec, instruct=self._instruct, count=self._count)
        wanted = min(top_n, len(documents))
        usage = _CallUsage()
        rounds = await self._rounds(inputs, min(wanted, len(inputs.texts)), usage)
        for digest in usage.answered:
            self._answered.pop(digest, None)
        ranked = [one for found in rounds for one in _by_document(found, inputs)][:wanted]
        worst = min((one.score for one in ranked), default=0.0)
        ranked += [Ranked(index, min(0.0, worst)) for index in inputs.blank[: wanted - len(ranked)]]
        notices = (
            *inputs.notices,
            *usage.notices,
            *self._notices(usage, [len(found) for found in rounds], len(documents)),
        )
        return Reranking(tuple(ranked), usage.tokens, notices)

    async def close(self) -> None:
        """Close every connection; requests in flight fail."""
        await self._endpoint.close()

    def __repr__(self) -> str:
        return f"HttpReranker({self._endpoint.target}, api_key=***)"

    async def _rounds(self, inputs: RerankInputs, wanted: int, usage: _CallUsage) -> list[list[Ranked]]:
        while True:
            try:
                return await rerank_in_batches(
                    inputs.loads, wanted=wanted, capacity=self._capacity, ask=partial(self._ask, inputs, usage)
                )
            except TextsRefused as refused:
                self._shrink_request(refused, usage)

    async def _ask(self, inputs: RerankInputs, usage: _CallUsage, indices: Sequence[int], top_n: int) -> list[Ranked]:
        texts = [inputs.texts[index] for index in indices]
        request = RerankRequest(self._spec.name, inputs.query, texts, top_n, self._instruct)
        usage.last_size = len(texts)
        body = {**self._dialect.body(request), **(self._dialect.truncation if self._server_truncates else {})}
        digest = hashlib.sha256(json.dumps(body).encode()).digest()
        if digest not in self._answered:
            self._answered[digest] = await self._send(body, request, tokens=sum(inputs.loads[i] for i in indices))
        ranked, billed = self._answered[digest]
        counted = sum(inputs.loads[index] for index in indices)
        if counted and billed is not None and is_absurdly_more(billed, counted):
            billed = None
        if digest not in usage.answered:
            usage.answered.add(digest)
            usage.requests += 1
            usage.tokens += counted if billed is None else billed
            usage.answers_without_usage += billed is None and self._dialect.reports_usage
        return [Ranked(indices[one.index], one.score) for one in ranked]

    async def _send(self, body: dict[str, object], request: RerankRequest, *, tokens: int) -> _Answered:
        sent_at = await self._limiter.acquire(tokens)
        try:
            # Some servers return the documents too.
            answer = await self._endpoint.post(body, max_bytes=_ANSWER_BYTES + 8 * len(json.dumps(body)))
            found = decode(answer.body)
            if isinstance(found, dict) and is_refusal(found):
                raise self._endpoint.refusal(answer, found)
        except Throttled as refused:
            self._limiter.refused(refused.limit, sent_at=sent_at, tokens=tokens)
            raise
        self._limiter.answered(sent_at=sent_at)
        try:
            return validate_ranking(
                found, sent=len(request.documents), top_n=request.top_n, returns=self._dialect.returns
            )
        except BilledInvalidResponse as error:
            words = f"{self._endpoint.target}: the answer cannot be used: {error}"
            named = f" (request {answer.request_id})" if answer.request_id else ""
            raise BilledInvalidResponse(words + named, billed_tokens=error.billed_tokens) from None

    def _shrink_request(self, refused: TextsRefused, usage: _CallUsage) -> None:
        """Request less from now on. Raises `refused` if nothing is left to reduce."""
        too_much = {"text_too_long", "request_too_large"}
        if not self._spec.documents_per_request:
            too_much.add(UNEXPLAINED_REFUSAL)  # a limit that is not published may be refused without a reason
        if refused.reason == "text_too_long" and self._dialect.truncation and not self._server_truncates:
            self._server_truncates = True
        elif refused.reason in too_much and usage.last_size > 2:
            self._capacity = replace(self._capacity, documents=max(2, usage.last_size // 2))
        else:
            raise refused
        usage.notices.append(f"{refused}; sent again in smaller requests")

    def _notices(self, usage: _CallUsage, rounds: Sequence[int], documents: int) -> list[str]:
        name = self._spec.name
        notices = []
        if self._server_truncates:
            notices.append(f"the server was told to cut texts that are too long for {name}; it does not say which")
        if usage.requests > 1:
            bounds = [f"{bound:,} {unit}" for bound, unit in self._bounds() if bound]
            words = (
                f"{documents:,} documents do not fit into one request to {name} ({', '.join(bounds)}): sent in "
                f"{usage.requests:,} requests, the best of each together with the next"
            )
            if len(rounds) > 1:
                words += (
                    f"; scores can be compared only within the first {rounds[0]:,}, the next {rounds[1]:,} and so on"
                )
            notices.append(words)
        if usage.answers_without_usage:
            notices.append(
                f"{name} did not report the cost of {usage.answers_without_usage:,} of {usage.requests:,} requests, or "
                "not a plausible one; our own count stands for it"
            )
        return notices

    def _bounds(self) -> tuple[tuple[int, str], ...]:
        return (self._capacity.documents, "documents"), (self._capacity.tokens, "tokens")


def _by_document(found: Sequence[Ranked], inputs: RerankInputs) -> list[Ranked]:
    return in_order(Ranked(index, one.score) for one in found for index in inputs.documents[one.index])
