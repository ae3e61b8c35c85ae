"""The two things an index is asked for: chunks by a sentence of their own, and sources by written questions.

A query set has the texts to ask, says which hits are right, and what the answers mean.
"""

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from millrace.flows.commands.evaluate.metrics import Kind
from millrace.flows.commands.evaluate.queries import Answer
from millrace.flows.commands.evaluate.report import EvaluationResult, QueryOutcome, TopHit
from millrace.flows.commands.search.retrieve import QueryVector
from millrace.tasks.milvus import Collection, Hit
from millrace.tasks.quality.questions import Question, found_sources
from millrace.tasks.reconcile.expected_rows import VectorStores


class QuerySet:
    """What is asked, and how the answers are judged. A subclass that knows more of rows and files overrides more."""

    kind: Kind
    texts: Sequence[str]
    labels: Sequence[str]
    """What each question is called in messages."""
    digest = ""
    """Of written questions, so that measures of others are not compared with theirs; "" for sentences of a sample."""
    skipped: Mapping[str, int] = MappingProxyType({})
    """Chunks that cannot be asked for, by reason."""

    def judge(self, number: int, hits: Sequence[Hit]) -> tuple[int | None, ...]:
        """For each hit of question `number`, which of the expected items it is."""
        raise NotImplementedError

    def relevance(self, number: int) -> tuple[float, ...]:
        """What each expected item of the question is worth; here one item is expected."""
        return (1.0,)

    def outcome(self, answer: Answer, first: TopHit | None) -> QueryOutcome:
        """All that is known of one question; `first` is the hit that came first, unless it was expected."""
        raise NotImplementedError

    def basis(self, asked: int, seed: int) -> str:
        """What was asked, in words."""
        raise NotImplementedError

    def verdict(self, result: EvaluationResult) -> str:
        """What the measures mean, and what is to be done."""
        raise NotImplementedError

    def inspect_rows(
        self,
        collection: Collection,
        stores: VectorStores,
        vectors: Mapping[int, QueryVector],
        answers: Sequence[Answer],
    ) -> None:
        """Look at the rows that were expected themselves, where they are known."""

    def path(self, number: int) -> str:
        """The file that question `number` is about; "" where it may be several."""
        return ""


class LabelledQueries(QuerySet):
    """Written questions with the sources that answer them."""

    kind: Kind = "questions"

    def __init__(self, questions: Sequence[Question], deepest: int) -> None:
        """`deepest` is how many hits count."""
        self.questions = questions
        self.texts = [question.text for question in questions]
        self.labels = [f"line {question.line}" for question in questions]
        self._deepest = deepest
        asked = [(question.text, question.sources, question.relevance) for question in questions]
        self.digest = hashlib.sha256(repr(asked).encode()).hexdigest()[:8]

    def judge(self, number: int, hits: Sequence[Hit]) -> tuple[int | None, ...]:
        """A hit is right when it is of an expected source."""
        sources = [str(hit.metadata.get("source") or "") for hit in hits]
        return tuple(found_sources(self.questions[number].sources, sources))

    def relevance(self, number: int) -> tuple[float, ...]:
        """As the file says of each source."""
        return self.questions[number].relevance

    def outcome(self, answer: Answer, first: TopHit | None) -> QueryOutcome:
        """The question, the sources that were not found, and what came first."""
        question = self.questions[answer.number]
        found = set(answer.final.found[: self._deepest])
        return QueryOutcome(
            question=question.text,
            source=", ".join(question.sources),
            line=question.line,
            retrieved_rank=answer.retrieved.rank,
            reranked_rank=answer.reranked.rank if answer.reranked is not None else None,
            first=first,
            not_found=tuple(source for i, source in enumerate(question.sources) if i not in found),
        )

    def basis(self, asked: int, seed: int) -> str:
        """How many questions."""
        return f"{asked:,} questions with expected sources"

    def verdict(self, result: EvaluationResult) -> str:
        """How many questions found all that was expected."""
        questions = len(result.asked)
        complete = questions - len(result.misses)
        return f"{complete:,} of {questions:,} questions found every expected source among the first {self._deepest:,}"
