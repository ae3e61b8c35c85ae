"""The questions of an evaluation and their vectors, bought and kept as those of documents are.

So the same evaluation costs nothing twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from configs.settings import Settings
from flows import opening
from flows.buying import buying
from flows.retrieval import QueryVector
from tasks.chunking import Tokenizer
from tasks.embedding import Event
from tasks.errors import TextsRefused
from tasks.lake import Lake, PartName, VectorStore
from tasks.owned import OwnedRows
from tasks.records import TEXT_KEY_BYTES, EmbeddingSpace, text_key
from tasks.repair import buy_texts


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
    model: opening.Model
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
        lake = opening.existing_lake(self.settings)
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
        with Lake.open(opening.lake_place(self.settings), self.settings.milvus.collection) as lake:
            store = lake.vectors(self.space)
            try:
                self.progress.embedding = True
                buyer = buying(
                    self.settings, self.model, lake, store, run=self.run, query=True, on_event=self.progress.note
                )
                async with buyer as dispatcher:
                    rows = OwnedRows(PartName(0, 0), self.space.name, table)
                    try:
                        bought = await buy_texts([rows], store, dispatcher, end_mark=0)
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
