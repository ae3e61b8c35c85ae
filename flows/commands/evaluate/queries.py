"""Many questions to a collection at once: their price, their vectors, and what the collection answers to each.

Their vectors are embedded and stored in the lake as those of documents are, so the same evaluation costs nothing twice.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from millrace.configs.settings import Settings
from millrace.flows.commands.search.budget import QueryBudget
from millrace.flows.commands.search.retrieve import (
    BATCH_BACKOFF_S,
    INTERACTIVE_BACKOFF_S,
    QueryVector,
    RankedHit,
    rerank,
    retrieve,
)
from millrace.flows.wiring import components
from millrace.flows.wiring.embedder import open_embedder
from millrace.flows.wiring.late_bills import save_bill
from millrace.tasks.embedding import Budget, Reranker, RerankSpec
from millrace.tasks.errors import BudgetReached, RunStopped, TextsRefused, Transient
from millrace.tasks.lake import Lake, PartName, RunUsage, VectorStore
from millrace.tasks.milvus import Collection, Hit
from millrace.tasks.quality.metrics import rank_of_first
from millrace.tasks.reconcile.expected_rows import ExpectedRows
from millrace.tasks.reconcile.repair import embed_missing
from millrace.tasks.records import TEXT_KEY_BYTES, EmbeddingSpace, text_key


@dataclass(slots=True)
class QuestionProgress:
    """Questions that have been answered, of all."""

    questions: int
    done: int = 0
    embedding: bool = False
    trouble: str = ""

    def lines(self) -> list[str]:
        """The state in one line, with what the provider last failed with."""
        if self.embedding:
            return [f"{self.questions:,} questions are embedded" + self._said()]
        return [f"questions {self.done:,} of {self.questions:,} answered" + self._said()]

    def figures(self) -> dict[str, float]:
        """Counts so far."""
        return {"questions": self.questions, "questions_answered": self.done}

    def tell(self, trouble: str) -> None:
        """Remember what went wrong, until the next question is answered."""
        self.trouble = trouble

    def answered(self) -> None:
        """Count one more."""
        self.done += 1
        self.trouble = ""

    def _said(self) -> str:
        return f" · {self.trouble}" if self.trouble else ""


@dataclass(slots=True)
class Questions:
    """The `texts` that are asked, each once, in the run `run`; their vectors are of `space`."""

    settings: Settings
    model: components.Model
    space: EmbeddingSpace
    texts: Sequence[str]
    run: str
    budget: QueryBudget
    progress: QuestionProgress = field(init=False)

    def __post_init__(self) -> None:
        self.progress = QuestionProgress(len(self.texts))

    def missing(self) -> list[int]:
        """The questions that the lake has no vector of, each text once."""
        lake = components.existing_lake(self.settings)
        store = lake.vectors(self.space)
        try:
            missing = store.missing([text_key(text) for text in self.texts])
        finally:
            store.close()
        first = {text: i for i, text in reversed(list(enumerate(self.texts)))}
        return [i for i in missing if first[self.texts[i]] == i]

    async def embed(self) -> dict[int, str]:
        """Embed the questions that the lake has no vector of; why the provider refused to, by question.

        Raises:
            BudgetReached, RunStopped: As the dispatcher does; what was embedded until then stays in the lake.
            LeaseHeld: Another process writes to the lake, and something has to be embedded.
        """
        missing = self.missing()
        if not missing:
            return {}
        table = pa.table(
            {
                "text_key": pa.array([text_key(self.texts[i]) for i in missing], pa.binary(TEXT_KEY_BYTES)),
                "content": [self.texts[i] for i in missing],
                "tokens": [self.budget.count(self.texts[i]) for i in missing],
                "source": [f"question {i + 1}" for i in missing],
            }
        )
        with Lake.open(components.lake_path(self.settings), self.settings.milvus.collection) as lake:
            store = lake.vectors(self.space)
            try:
                self.progress.embedding = True
                opening = open_embedder(
                    self.settings,
                    self.model,
                    lake,
                    store,
                    run=self.run,
                    query=True,
                    on_event=lambda event: self.progress.tell(event.message),
                )
                async with opening as dispatcher:
                    rows = ExpectedRows(PartName(0, 0), self.space.name, table)
                    try:
                        embedded = await embed_missing([rows], store, dispatcher, end_mark=0)
                    finally:
                        self.budget.tokens = dispatcher.usage.tokens_billed
            finally:
                self.progress.embedding, self.progress.trouble = False, ""
                store.close()
        return self._refusals(embedded.refused)

    def vectors(self, store: VectorStore, numbers: Sequence[int]) -> list[QueryVector]:
        """The vectors of the questions `numbers`, which the store has."""
        keys = [text_key(self.texts[i]) for i in numbers]
        dense = store.read(keys) if keys else np.empty((0, self.space.dimensions), np.float32)
        sparse = store.read_sparse(keys) if keys and self.space.sparse else [None] * len(keys)
        return [QueryVector(vector, weights) for vector, weights in zip(dense, sparse, strict=True)]

    def _refusals(self, refused: dict[bytes, TextsRefused]) -> dict[int, str]:
        why = {i: refused.get(text_key(text)) for i, text in enumerate(self.texts)}
        return {i: str(refusal) for i, refusal in why.items() if refusal is not None}


_RERANKED_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a question found, the best first: which expected item each hit is (as `tasks.quality.metrics` takes it)."""

    found: tuple[int | None, ...]
    first: RankedHit | None

    @property
    def rank(self) -> int | None:
        """The place, from 1, of the first hit that was expected; None where there is none."""
        return rank_of_first(self.found)


@dataclass(frozen=True, slots=True)
class Answer:
    """What question `number` found: as retrieved, and as reranked where there is a reranker."""

    number: int
    retrieved: Ranking
    reranked: Ranking | None

    @property
    def final(self) -> Ranking:
        """What a user of `search` would see: reranked where there is a reranker."""
        return self.reranked or self.retrieved


@dataclass(slots=True)
class QueryRunner:
    """Asks the `questions`. `mean_tokens` is that of a chunk, `depth` how many rows are wanted."""

    questions: Questions
    rerank_spec: RerankSpec | None
    depth: int
    mean_tokens: float
    notices: set[str] = field(default_factory=set)

    def price(self) -> str:
        """What the missing vectors and `answers` will cost, in words; "" where they cost nothing.

        What reranking takes is estimated from the mean length of a chunk. Raises BudgetReached above the cap.
        """
        questions, budget = self.questions, self.questions.budget
        missing, asked = questions.missing(), len(questions.texts)
        tokens, rerank_tokens = sum(budget.count(questions.texts[i]) for i in missing), 0
        parts = [f"{len(missing):,} of {asked:,} questions to embed, {tokens:,} tokens of {questions.model.spec.name}"]
        if self.rerank_spec is not None:
            documents = min(self.depth, questions.settings.search.top_k)
            of_questions = sum(budget.count(text) for text in questions.texts) * documents
            rerank_tokens = of_questions + math.ceil(asked * documents * self.mean_tokens)
            parts.append(f"about {rerank_tokens:,} tokens of {self.rerank_spec.name}")
        cost = budget.cost_cny(tokens, rerank_tokens)
        if budget.exceeds_cap(cost):
            raise BudgetReached(
                f"asking {asked:,} questions would cost about {cost:.4f} of {budget.cap_cny} yuan "
                "(budget.max_cny); nothing was embedded. Ask fewer with --sample, leave out "
                "reranking with --no-rerank, or raise the cap"
            )
        return f"{'; '.join(parts)}; about ¥{cost:.4f}" if cost else ""

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
                    text, vector = self.questions.texts[number], vectors[number]
                    hits = await asyncio.to_thread(
                        retrieve, self.questions.settings, collection, text, vector, top_k=self.depth
                    )
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
            self._save_rerank_usage()
        return sorted(answers, key=lambda answer: answer.number)

    async def _reranked(self, reranker: Reranker, number: int, hits: Sequence[Hit], budget: Budget) -> list[RankedHit]:
        """As many hits as `search` has reranked in their new order, then the others in the old one."""
        questions, spent = self.questions, self.questions.budget
        text, top_k = questions.texts[number], questions.settings.search.top_k
        counted = sum(questions.budget.count(text) + questions.budget.count(hit.content) for hit in hits[:top_k])
        held = budget.reserve(counted)
        billed = 0
        try:
            answer = await rerank(
                reranker,
                text,
                hits[:top_k],
                top_n=top_k,
                # What never answered is most likely not there.
                pauses_s=BATCH_BACKOFF_S if spent.rerank_requests else INTERACTIVE_BACKOFF_S,
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
        spent, spec = self.questions.budget, self.rerank_spec
        left = None if spent.cap_cny is None else max(spent.cap_cny - spent.spent_cny, 0.0)
        return Budget(left, spec.price_cny_per_1k_tokens if spec is not None else 0.0)

    def _save_rerank_usage(self) -> None:
        spec, spent, settings = self.rerank_spec, self.questions.budget, self.questions.settings
        if spec is None or not spent.rerank_requests:
            return
        usage = RunUsage(
            self.questions.run,
            settings.milvus.collection,
            spec.name,
            requests=spent.rerank_requests,
            tokens_billed=spent.rerank_tokens,
            cost_cny=spent.cost_cny(0, spent.rerank_tokens),
            updated=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        save_bill(components.existing_lake(settings), usage)


def _ranking(hits: Sequence[RankedHit], found: tuple[int | None, ...]) -> Ranking:
    return Ranking(found, hits[0] if hits else None)
