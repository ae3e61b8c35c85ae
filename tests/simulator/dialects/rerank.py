"""What every rerank endpoint does alike: check the request, count it, score it, damage the results.

Damage that names a vector falls on the result in the middle: WRONG_DIMENSION gives it the index of no document,
NAN_VECTOR the score NaN, NULL_EMBEDDING null, ZERO_VECTOR none at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.simulator.books import Books
from tests.simulator.faults import Damage
from tests.simulator.model.models import Quota, RerankModel
from tests.simulator.model.ranking import expected_scores, read_of
from tests.simulator.model.tokens import bpe_tokens
from tests.simulator.provider import Provider
from tests.simulator.refusals import Reason, Refused

Result = dict[str, object]
"""`index`, `relevance_score` and, if asked for, `document`."""


@dataclass(frozen=True, slots=True)
class RankingJob:
    """A request for scores that passed validation."""

    account: str
    model: RerankModel
    query: str
    documents: tuple[str, ...]
    top_n: int
    instruct: str
    returns_documents: bool
    tokens: int

    @property
    def model_name(self) -> str:
        return self.model.name

    @property
    def quota(self) -> Quota:
        return self.model.quota

    @property
    def details(self) -> Mapping[str, object]:
        return {"limit": self.model.tokens_per_request, "model": self.model.name, "allowed": []}

    def enter(self, books: Books, now: float, *, sound: bool) -> None:
        books.bill_rerank(len(self.documents), self.tokens, sound=sound)


def ranking_job(
    provider: Provider,
    account: str,
    model: RerankModel,
    query: object,
    documents: object,
    *,
    top_n: object = None,
    instruct: object = None,
    returns_documents: bool = False,
) -> RankingJob:
    """The job that a request's fields describe, entered in the books as sent.

    Raises Refused: NOT_TEXTS, PARAMETER, BATCH_SIZE, LENGTH, in that order.
    """
    if not isinstance(query, str) or not isinstance(documents, list) or not documents:
        raise Refused(Reason.NOT_TEXTS)
    if not all(isinstance(document, str) for document in documents):
        raise Refused(Reason.NOT_TEXTS)
    if top_n is not None and (type(top_n) is not int or top_n < 1):
        raise Refused(Reason.PARAMETER, what="top_n is invalid, it should be a positive integer.")
    provider.books.receive_rerank(len(documents))
    if len(documents) > model.documents_per_request:
        raise Refused(Reason.BATCH_SIZE, limit=model.documents_per_request, given=len(documents))
    # What the real server makes of a blank text is not known; the strict reading is simulated.
    if not all(text.strip() for text in (query, *documents)):
        raise Refused(Reason.LENGTH, limit=model.tokens_per_request, given=0)
    cuts = model.over_long == "cut"
    read = [read_of(text, model.tokens_per_text) if cuts else text for text in (query, *documents)]
    asked, *held = (bpe_tokens(text) + model.end_tokens for text in read)
    if not cuts and asked + max(held) > model.tokens_per_text:
        raise Refused(Reason.LENGTH, limit=model.tokens_per_text, given=asked + max(held))
    tokens = asked * len(held) + sum(held)
    if tokens > model.tokens_per_request:
        raise Refused(Reason.LENGTH, limit=model.tokens_per_request, given=tokens)
    provider.books.size_rerank(tokens)
    return RankingJob(
        account,
        model,
        query,
        tuple(documents),
        min(top_n, len(documents)) if isinstance(top_n, int) else len(documents),
        instruct if isinstance(instruct, str) and model.takes_instruct else "",
        returns_documents,
        tokens,
    )


def results(provider: Provider, job: RankingJob, damage: Damage | None, *, in_order: bool = True) -> list[Result]:
    """The `top_n` best documents, best first; not `in_order`, all of them as they were sent."""
    scores = expected_scores(job.query, job.documents, job.instruct, job.model.tokens_per_text)
    numbers: Sequence[int] = range(len(scores))
    if in_order:
        numbers = sorted(numbers, key=lambda number: -scores[number])[: job.top_n]
    found: list[Result] = [{"index": number, "relevance_score": scores[number]} for number in numbers]
    if job.returns_documents:
        for result, number in zip(found, numbers, strict=True):
            result["document"] = {"text": job.documents[number]}
    _damage(found, len(job.documents), damage)
    if damage is Damage.SHUFFLED or provider.settings.shuffled:
        provider.draws.shuffle(found)
    return found


_NO_SCORES = {Damage.NAN_VECTOR: float("nan"), Damage.NULL_EMBEDDING: None, Damage.TRUE_IN_VECTOR: True}


def _damage(found: list[Result], documents: int, damage: Damage | None) -> None:
    middle = len(found) // 2
    match damage:
        case Damage.EMPTY_DATA:
            found.clear()
        case Damage.MISSING_ITEM:
            del found[middle]
        case Damage.EXTRA_ITEM:
            found.append({**found[middle], "index": documents})
        case Damage.DOUBLED_INDEX if len(found) > 1:
            found[middle]["index"] = found[middle - 1]["index"]
        case Damage.DOUBLED_INDEX:
            found *= 2
        case Damage.WRONG_DIMENSION:
            found[middle]["index"] = documents
        case Damage.NAN_VECTOR | Damage.NULL_EMBEDDING | Damage.TRUE_IN_VECTOR:
            found[middle]["relevance_score"] = _NO_SCORES[damage]
        case Damage.ZERO_VECTOR:
            del found[middle]["relevance_score"]
