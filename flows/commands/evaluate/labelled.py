"""The two things an index is asked for: chunks by a sentence of their own, and sources by somebody's questions.

An exam has the texts to ask, says which hits are right, and what the answers mean.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from millrace.flows.commands.evaluate.metrics import Judgement, Kind, Measures
from millrace.flows.commands.evaluate.queries import Answer, Ranking
from millrace.flows.commands.evaluate.report import EvaluationReport, QueryOutcome, TopHit
from millrace.flows.commands.search.retrieve import QueryVector
from millrace.tasks.milvus import Collection, Hit
from millrace.tasks.quality.questions import Question, found_sources
from millrace.tasks.reconcile.expected_rows import VectorStores

Ranks = tuple[int | None, int | None]


class QuerySet(Protocol):
    """What is asked, and how the answers are judged."""

    kind: Kind
    texts: Sequence[str]
    skipped: Mapping[str, int]
    digest: str
    """Of written questions, so that measures of others are not compared with theirs; "" for sentences of a sample."""

    def label(self, number: int) -> str:
        """What question `number` is called in messages."""
        ...

    def judge(self, number: int, hits: Sequence[Hit]) -> tuple[int | None, ...]:
        """For each hit of question `number`, which of the expected items it is."""
        ...

    def judged(self, number: int, ranking: Ranking) -> Judgement:
        """The same ranking with what each expected item of the question is worth."""
        ...

    def inspect_rows(
        self,
        collection: Collection,
        stores: VectorStores,
        vectors: Mapping[int, QueryVector],
        answers: Sequence[Answer],
    ) -> None:
        """Look at the rows that were expected themselves, where they are known."""
        ...

    def asked(self, answer: Answer, ranks: Ranks, first: TopHit | None) -> QueryOutcome:
        """All that is known of one question."""
        ...

    def by_source(
        self, answers: Sequence[Answer], ks: Sequence[int]
    ) -> tuple[tuple[str, Measures, Measures | None], ...]:
        """The measures of each file, the worst first."""
        ...

    def basis(self, asked: int, seed: int) -> str:
        """What was asked, in words."""
        ...

    def verdict(self, report: EvaluationReport) -> str:
        """What the measures mean, and what to do."""
        ...


class LabelledQueries:
    """Questions that somebody has written down, with the sources that answer them."""

    kind: Kind = "questions"

    def __init__(self, questions: Sequence[Question], deepest: int) -> None:
        """`deepest` is how many hits count."""
        self.questions = questions
        self.texts: Sequence[str] = [question.text for question in questions]
        self.skipped: Mapping[str, int] = {}
        self._deepest = deepest
        asked = [(question.text, question.sources, question.relevance) for question in questions]
        self.digest = hashlib.sha256(repr(asked).encode()).hexdigest()[:8]

    def label(self, number: int) -> str:
        """Where it stands in its file."""
        return f"line {self.questions[number].line}"

    def judge(self, number: int, hits: Sequence[Hit]) -> tuple[int | None, ...]:
        """A hit is right when it is of an expected source."""
        sources = [str(hit.metadata.get("source") or "") for hit in hits]
        return tuple(found_sources(self.questions[number].sources, sources))

    def judged(self, number: int, ranking: Ranking) -> Judgement:
        """Each expected source by its relevance."""
        return Judgement(ranking.found, self.questions[number].relevance)

    def inspect_rows(
        self,
        collection: Collection,
        stores: VectorStores,
        vectors: Mapping[int, QueryVector],
        answers: Sequence[Answer],
    ) -> None:
        """Nothing: which row should have answered is not known."""

    def asked(self, answer: Answer, ranks: Ranks, first: TopHit | None) -> QueryOutcome:
        """The question, the sources that were not found, and what came first."""
        question = self.questions[answer.number]
        found = set((answer.reranked or answer.retrieved).found[: self._deepest])
        final = ranks[0] if ranks[1] is None else ranks[1]
        return QueryOutcome(
            question=question.text,
            source=", ".join(question.sources),
            line=question.line,
            retrieved_rank=ranks[0],
            reranked_rank=ranks[1],
            first=first if final != 1 else None,
            not_found=tuple(source for i, source in enumerate(question.sources) if i not in found),
        )

    def by_source(
        self, answers: Sequence[Answer], ks: Sequence[int]
    ) -> tuple[tuple[str, Measures, Measures | None], ...]:
        """None: a question has several sources."""
        return ()

    def basis(self, asked: int, seed: int) -> str:
        """What was asked, in words."""
        return f"{asked:,} questions with expected sources"

    def verdict(self, report: EvaluationReport) -> str:
        """How many questions found all that was expected."""
        questions = len(report.asked)
        complete = questions - len(report.misses)
        return f"{complete:,} of {questions:,} questions found every expected source among the first {self._deepest:,}"
