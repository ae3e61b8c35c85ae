"""Many questions to a collection at once: their price, and what the collection answers to each."""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from flows import opening
from flows.question_vectors import Questions
from flows.retrieval import HASTE_S, WITHOUT_HASTE_S, QueryVector, RankedHit, rerank, retrieve
from tasks.embedding import Budget, Reranker, RerankSpec, cost_cny
from tasks.errors import BudgetReached, RunStopped, Transient
from tasks.lake import Bill
from tasks.milvus import Collection, Hit

_RERANKED_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class AskingPrice:
    """What asking takes, as far as it can be told beforehand.

    `tokens` are those of the questions that the lake has no vector of; `rerank_tokens` an estimate, from the mean
    length of a chunk.
    """

    questions: int
    to_embed: int
    tokens: int
    rerank_tokens: int
    cost_cny: float

    def line(self, model: str, reranker: str) -> str:
        """The price for people."""
        parts = [f"{self.to_embed:,} of {self.questions:,} questions to embed, {self.tokens:,} tokens of {model}"]
        if reranker:
            parts.append(f"about {self.rerank_tokens:,} tokens of {reranker}")
        return f"{'; '.join(parts)}; about ¥{self.cost_cny:.4f}"


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a question found, the best first: which expected item each hit is (as `tasks.ranking` takes it)."""

    found: tuple[int | None, ...]
    first: RankedHit | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What question `number` found: as retrieved, and as reranked where there is a reranker."""

    number: int
    retrieved: Ranking
    reranked: Ranking | None


@dataclass(slots=True)
class Asker:
    """Asks the `questions`. `mean_tokens` is that of a chunk, `depth` how many rows are wanted."""

    questions: Questions
    rerank_spec: RerankSpec | None
    depth: int
    mean_tokens: float
    notices: set[str] = field(default_factory=set)

    def price(self) -> AskingPrice:
        """What the vectors that are lacking and `answers` will cost. Raises BudgetReached if that is above the cap."""
        questions, settings = self.questions, self.questions.settings
        missing = questions.missing()
        tokens = sum(questions.tokens(questions.texts[i]) for i in missing)
        rerank_tokens, cost = 0, cost_cny(tokens, questions.model.spec.price_cny_per_1k_tokens)
        if self.rerank_spec is not None:
            documents = min(self.depth, settings.search.top_k)
            of_questions = sum(questions.tokens(text) for text in questions.texts) * documents
            rerank_tokens = of_questions + math.ceil(len(questions.texts) * documents * self.mean_tokens)
            cost += cost_cny(rerank_tokens, self.rerank_spec.price_cny_per_1k_tokens)
        cap = settings.budget.max_cny
        if cap is not None and cost > cap:
            raise BudgetReached(
                f"asking {len(questions.texts):,} questions would cost about {cost:.4f} of {cap} yuan "
                "(budget.max_cny); nothing was bought. Ask fewer with --sample, leave out reranking with --no-rerank, "
                "or raise the cap"
            )
        return AskingPrice(len(questions.texts), len(missing), tokens, rerank_tokens, cost)

    async def answers(
        self,
        collection: Collection,
        reranker: Reranker | None,
        vectors: dict[int, QueryVector],
        judge: Callable[[int, Sequence[Hit]], tuple[int | None, ...]],
    ) -> list[Answer]:
        """What the collection answers to each of the questions in `vectors`, in their order.

        `judge` says of the hits of a question which expected item each is.

        Raises:
            BudgetReached: The next reranking could pass the cap.
            RunStopped: Milvus or the reranker does not answer. Reranking is measured here, so its failure is one.
        """
        budget = self._rerank_budget()
        waiting = iter(sorted(vectors))
        one_at_a_time = asyncio.Lock()  # Milvus; only rerankers are worth waiting for side by side
        answers: list[Answer] = []

        async def work() -> None:
            for number in waiting:
                async with one_at_a_time:
                    hits = await asyncio.to_thread(self._retrieved, collection, number, vectors[number])
                reranked = None
                if reranker is not None:
                    ordered = await self._reranked(reranker, number, hits, budget)
                    reranked = _ranking(ordered, judge(number, [ranked.hit for ranked in ordered]))
                retrieved = _ranking([RankedHit(hit) for hit in hits], judge(number, hits))
                answers.append(Answer(number, retrieved, reranked))
                self.questions.progress.answered()

        workers = [asyncio.create_task(work()) for _ in range(_RERANKED_AT_ONCE if reranker is not None else 1)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._bill_reranking()
        return sorted(answers, key=lambda answer: answer.number)

    def _retrieved(self, collection: Collection, number: int, vector: QueryVector) -> list[Hit]:
        return retrieve(self.questions.settings, collection, self.questions.texts[number], vector, top_k=self.depth)

    async def _reranked(self, reranker: Reranker, number: int, hits: Sequence[Hit], budget: Budget) -> list[RankedHit]:
        """As many hits as `search` has reranked in their new order, then the others in the old one."""
        questions, spent = self.questions, self.questions.spent
        text, top_k = questions.texts[number], questions.settings.search.top_k
        counted = sum(questions.tokens(text) + questions.tokens(hit.content) for hit in hits[:top_k])
        held = budget.reserve(counted)
        billed = 0
        try:
            answer = await rerank(
                reranker,
                text,
                hits[:top_k],
                top_n=top_k,
                # What never answered is most likely not there.
                pauses_s=WITHOUT_HASTE_S if spent.rerank_requests else HASTE_S,
                tell=questions.progress.tell,
            )
            billed = answer.billed_tokens
        except Transient as trouble:
            raise RunStopped(f"question {number + 1} could not be reranked: {trouble}") from trouble
        finally:
            budget.settle(held, billed, counted=counted if billed else 0)
        self.notices.update(answer.notices)
        spent.rerank_requests += 1
        spent.rerank_tokens += billed
        return [*answer.hits, *(RankedHit(hit) for hit in hits[top_k:])]

    def _rerank_budget(self) -> Budget:
        cap, spec = self.questions.settings.budget.max_cny, self.rerank_spec
        left = None if cap is None else max(cap - self.questions.spent.cost_cny, 0.0)
        return Budget(left, spec.price_cny_per_1k_tokens if spec is not None else 0.0)

    def _bill_reranking(self) -> None:
        spec, spent = self.rerank_spec, self.questions.spent
        if spec is None or not spent.rerank_requests:
            return
        cost = cost_cny(spent.rerank_tokens, spec.price_cny_per_1k_tokens)
        spent.cost_cny += cost
        bill = Bill(self.questions.run, self.questions.settings.milvus.collection, spec.name)
        opening.existing_lake(self.questions.settings).bills.save(
            replace(
                bill,
                requests=spent.rerank_requests,
                tokens_billed=spent.rerank_tokens,
                cost_cny=cost,
                updated=datetime.now(UTC).isoformat(timespec="seconds"),
            )
        )


def _ranking(hits: Sequence[RankedHit], found: tuple[int | None, ...]) -> Ranking:
    return Ranking(found, hits[0] if hits else None)
