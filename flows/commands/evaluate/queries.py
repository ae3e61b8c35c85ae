"""Many questions to a collection at once: their price, and what the collection answers to each.

The questions of an evaluation and their vectors, bought and kept as those of documents are.

So the same evaluation costs nothing twice.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from millrace.configs.settings import Settings
from millrace.flows.commands.search.retrieve import (
    BATCH_BACKOFF_S,
    INTERACTIVE_BACKOFF_S,
    QueryVector,
    RankedHit,
    rerank,
    retrieve,
)
from millrace.flows.wiring import components
from millrace.flows.wiring.embedder import buying
from millrace.tasks.chunking import Tokenizer
from millrace.tasks.embedding import Budget, Event, Reranker, RerankSpec, cost_cny
from millrace.tasks.errors import BudgetReached, RunStopped, TextsRefused, Transient
from millrace.tasks.lake import Bill, Lake, PartName, VectorStore
from millrace.tasks.milvus import Collection, Hit
from millrace.tasks.reconcile.expected_rows import ExpectedRows
from millrace.tasks.reconcile.repair import embed_missing
from millrace.tasks.records import TEXT_KEY_BYTES, EmbeddingSpace, text_key


@dataclass(slots=True)
class Spent:
    """What asking has cost so far."""

    tokens: int = 0
    rerank_requests: int = 0
    rerank_tokens: int = 0
    cost_cny: float = 0.0


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

    def note(self, event: Event) -> None:
        """Remember what went wrong."""
        self.trouble = event.message

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
    spent: Spent = field(default_factory=Spent)
    progress: QuestionProgress = field(init=False)

    def __post_init__(self) -> None:
        self.progress = QuestionProgress(len(self.texts))

    def tokens(self, text: str) -> int:
        """The tokens of a text, as the model is billed for them."""
        return Tokenizer.load(self.model.spec.tokenizer).count(text) + self.model.spec.end_mark_tokens

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

    async def buy_vectors(self) -> dict[int, str]:
        """Buy the vectors that the lake lacks; why the provider refused to, by question.

        Raises:
            BudgetReached, RunStopped: As the dispatcher does; what was bought until then is kept.
            LeaseHeld: Another process writes to the lake, and something is to be bought.
        """
        missing = self.missing()
        if not missing:
            return {}
        table = pa.table(
            {
                "text_key": pa.array([text_key(self.texts[i]) for i in missing], pa.binary(TEXT_KEY_BYTES)),
                "content": [self.texts[i] for i in missing],
                "tokens": [self.tokens(self.texts[i]) for i in missing],
                "source": [f"question {i + 1}" for i in missing],
            }
        )
        with Lake.open(components.lake_path(self.settings), self.settings.milvus.collection) as lake:
            store = lake.vectors(self.space)
            try:
                self.progress.embedding = True
                buyer = buying(
                    self.settings, self.model, lake, store, run=self.run, query=True, on_event=self.progress.note
                )
                async with buyer as dispatcher:
                    rows = ExpectedRows(PartName(0, 0), self.space.name, table)
                    try:
                        bought = await embed_missing([rows], store, dispatcher, end_mark=0)
                    finally:
                        self.spent.tokens = dispatcher.tally.tokens_billed
                        self.spent.cost_cny = dispatcher.tally.cost_cny
            finally:
                self.progress.embedding, self.progress.trouble = False, ""
                store.close()
        return self._refusals(bought.refused)

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
    """What a question found, the best first: which expected item each hit is (as `tasks.quality.metrics` takes it)."""

    found: tuple[int | None, ...]
    first: RankedHit | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What question `number` found: as retrieved, and as reranked where there is a reranker."""

    number: int
    retrieved: Ranking
    reranked: Ranking | None


@dataclass(slots=True)
class QueryRunner:
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
        components.existing_lake(self.questions.settings).bills.save(
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
