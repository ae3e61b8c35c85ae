"""Chunks of the lake, each asked for by a sentence of its own text: what is asked, what is right, what it means."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from millrace.flows.commands.evaluate.labelled import QuerySet
from millrace.flows.commands.evaluate.metrics import Kind
from millrace.flows.commands.evaluate.queries import Answer, Ranking
from millrace.flows.commands.evaluate.report import BROKEN, SOUND, EvaluationResult, QueryOutcome, TopHit
from millrace.flows.commands.search.retrieve import QueryVector
from millrace.tasks.lake import PartName
from millrace.tasks.milvus import Collection, Hit
from millrace.tasks.quality.row_similarity import MIN_Z_SCORE, row_similarity, z_score_of
from millrace.tasks.quality.sampling import Sample
from millrace.tasks.quality.terms import distinctive_sentences, one_line, without_whitespace
from millrace.tasks.reconcile.expected_rows import ExpectedRows, Vectors, VectorStores

_SAME_DIRECTION = 0.999
_CLEARLY_NEAR = 2 * MIN_Z_SCORE
_CLEARLY_NEARER = 0.001  # of cosines that two programs have worked out


class KnownItemEvaluation(QuerySet):
    """Chunks of the lake, each asked for by a sentence of its own text."""

    kind: Kind = "self"

    def __init__(self, sample: Sample, *, by_cosine: bool) -> None:
        """Choose the sentences; chunks without one are counted in `skipped`.

        `by_cosine` says that the scores of retrieval are cosines.
        """
        self._by_cosine = by_cosine
        sentences = distinctive_sentences(sample.rows["content"].to_pylist())
        there = [i for i, sentence in enumerate(sentences) if sentence.text]
        self._rows = sample.rows.take(pa.array(there, pa.int64()))
        self._chunks = sample.chunks
        self._drawn = sample.rows.num_rows
        self._wanted = [without_whitespace(sentences[i].text) for i in there]
        self.texts = [one_line(sentences[i].text) for i in there]
        self.skipped = Counter(sentence.lack for sentence in sentences if sentence.lack)
        self._ids: list[str] = self._rows["id"].to_pylist()
        self.labels = [f"chunk {row_id}" for row_id in self._ids]
        self._paths: list[str] = self._rows["path"].to_pylist()
        self._own: npt.NDArray[np.float64] = np.full(len(there), np.nan)
        self._z_score: npt.NDArray[np.float64] = np.full(len(there), np.nan)
        self._is_outlier: npt.NDArray[np.bool_] = np.zeros(len(there), np.bool_)
        self._state: dict[int, str] = {}
        self._elsewhere: list[float] = []
        self._folder = f"vectors/{self._rows['space'][0].as_py()}" if there else ""

    def judge(self, number: int, hits: Sequence[Hit]) -> tuple[int | None, ...]:
        """A hit is right when the sentence stands in its content; the same text elsewhere is as good."""
        return tuple(0 if self._wanted[number] in without_whitespace(hit.content) else None for hit in hits)

    def inspect_rows(
        self,
        collection: Collection,
        stores: VectorStores,
        vectors: Mapping[int, QueryVector],
        answers: Sequence[Answer],
    ) -> None:
        """How near each question is to its own row, and whether that row is as the lake has it."""
        numbers = sorted(vectors)
        if not numbers:
            return
        questions = np.stack([vectors[number].dense for number in numbers])
        rows = self._fetched(collection, [self._ids[number] for number in numbers], questions.shape[1])
        similarity = row_similarity(questions, rows)
        self._own[numbers], self._z_score[numbers] = similarity.cosine, similarity.z_score
        self._is_outlier[numbers] = similarity.is_outlier
        in_lake = self._vectors_in_lake(stores, questions.shape[1])[numbers]
        for position, number in enumerate(numbers):
            self._state[number] = _state(rows[position], in_lake[position])
        self._inspect_wrong_top_hits(collection, answers, dict(zip(numbers, questions, strict=True)), rows)

    def outcome(self, answer: Answer, first: TopHit | None) -> QueryOutcome:
        """The chunk, its place among the hits, and how its row looks."""
        number = answer.number
        metadata = json.loads(self._rows["metadata"][number].as_py())
        state = self._state.get(number, "")
        return QueryOutcome(
            question=self.texts[number],
            source=self._rows["source"][number].as_py(),
            page=metadata["page_start"],
            chunk_number=metadata["chunk_number"],
            id=self._ids[number],
            retrieved_rank=answer.retrieved.rank,
            reranked_rank=answer.reranked.rank if answer.reranked is not None else None,
            first=first,
            own_similarity=_finite(float(self._own[number])),
            lead=_finite(float(self._z_score[number])),
            row=state,
            passed_over=answer.retrieved.rank != 1 and self._is_nearer(number, answer.retrieved),
            suspicious=state == "differs_from_lake" or bool(self._is_outlier[number]),
        )

    def _is_nearer(self, number: int, retrieved: Ranking) -> bool:
        """Whether the chunk's own row is nearer to the question than what came first: the index has missed it."""
        best = retrieved.first
        return self._by_cosine and best is not None and bool(self._own[number] > best.hit.score + _CLEARLY_NEARER)

    def path(self, number: int) -> str:
        """The file that the chunk is of."""
        return self._paths[number]

    def basis(self, asked: int, seed: int) -> str:
        """How many chunks of how many files."""
        files = len(set(self._paths))
        if self._drawn == self._chunks:
            return f"{asked:,} chunks, each by a sentence of its own: all {self._chunks:,} of {files:,} files"
        return f"{asked:,} of {self._chunks:,} chunks of {files:,} files, each by a sentence of its own, seed {seed}"

    def verdict(self, result: EvaluationResult) -> str:
        """What the share of first hits means, and what is to be done."""
        retrieved, final = result.retrieved.hit_at_1, result.final.hit_at_1
        suspicious, asked = len(result.suspicious), len(result.asked)
        share = f"{final:.1%} of the chunks come first for a sentence of their own"
        if retrieved < BROKEN:
            healed = "" if result.reranked is None else f", {final:.1%} after reranking"
            words = f"broken: {retrieved:.1%} of the chunks are found by their own words{healed}"
            return f"{words}. {self._what_is_broken()}"
        if suspicious > asked / 2:  # what joins or reranks the rankings knows the words, and hides it
            return f"broken, though {share}: {suspicious:,} of {asked:,} vectors are far off. {self._what_is_broken()}"
        missed = result.final.questions - round(final * result.final.questions)
        words = f"sound: {share}" if final >= SOUND else f"{missed:,} of {result.final.questions:,} missed: {share}"
        if suspicious:
            which = "one vector does" if suspicious == 1 else f"{suspicious:,} vectors do"
            uncommitted = "" if self._differing() else ", or of a text that the model does not understand"
            return (
                f"{words}. But {which} not look like the text of the row, as if made from another text or by another "
                f"model{uncommitted}. {self._remedy()}"
            )
        if final < SOUND:
            words += ". Their rows look like their texts: vectors sit where they belong, and " + _other_reason(result)
        return words

    def _what_is_broken(self) -> str:
        words = "The vectors do not belong to the texts of their rows"
        if self._elsewhere and float(np.median(self._elsewhere)) >= _CLEARLY_NEAR:
            words += (
                ": for each question some row is as near as a right one would be, but holds another text, as when "
                "vectors are shifted against their rows"
            )
        else:
            words += (
                ", or queries are embedded otherwise than documents were (another model, prefix or text_type): no row "
                "is near to the questions"
            )
        return f"{words}. {self._remedy()}"

    def _differing(self) -> int:
        return Counter(self._state.values())["differs_from_lake"]

    def _remedy(self) -> str:
        if differing := self._differing():
            have = "has" if differing == 1 else "have"
            return (
                f"{differing:,} of the {len(self._state):,} rows {have} another vector than the lake: "
                "`millrace verify --repair` puts that right and buys nothing"
            )
        return (
            "The lake has the same vectors, so `verify` finds no fault. Compare [embedding] with that of the ingest; "
            f"if it is the same, move {self._folder} of the lake aside and buy them again: `millrace verify --repair`"
        )

    def _fetched(self, collection: Collection, ids: Sequence[str], dimensions: int) -> Vectors:
        """The rows' vectors as the collection has them; not a number where it does not."""
        vectors = np.full((len(ids), dimensions), np.nan, np.float32)
        positions = {row_id: position for position, row_id in enumerate(ids)}
        for row in collection.fetch(ids, with_vectors=True):
            if row.vector is not None and row.vector.shape == (dimensions,):
                vectors[positions[row.id]] = row.vector
        return vectors

    def _vectors_in_lake(self, stores: VectorStores, dimensions: int) -> Vectors:
        """The rows' vectors as the lake has them; not a number where it does not."""
        in_lake = np.full((self._rows.num_rows, dimensions), np.nan, np.float32)
        spaces = np.array(self._rows["space"].to_pylist())
        for space in np.unique(spaces).tolist():
            positions = np.flatnonzero(spaces == space)
            read = stores.read(ExpectedRows(PartName(0, 0), space, self._rows.take(pa.array(positions))))
            if read.vectors.shape[1] == dimensions:
                in_lake[positions[read.has_vector]] = read.vectors[read.has_vector]
        return in_lake

    def _inspect_wrong_top_hits(
        self, collection: Collection, answers: Sequence[Answer], questions: Mapping[int, Vectors], rows: Vectors
    ) -> None:
        """How near the rows are that came first in the place of others."""
        wrong = [a for a in answers if a.retrieved.first is not None and a.retrieved.found[0] is None]
        ids = list(dict.fromkeys(a.retrieved.first.hit.id for a in wrong if a.retrieved.first is not None))
        dimensions = rows.shape[1]
        fetched = dict(zip(ids, self._fetched(collection, ids, dimensions), strict=True))
        for answer in wrong:
            assert answer.retrieved.first is not None
            z_score = z_score_of(questions[answer.number], fetched[answer.retrieved.first.hit.id], rows)
            if np.isfinite(z_score):
                self._elsewhere.append(z_score)


def _other_reason(result: EvaluationResult) -> str:
    """Why rows whose vectors are right do not come first."""
    passed_over = sum(one.passed_over for one in result.asked)
    if not passed_over:
        return "other passages are nearer"
    which = "one of them is" if passed_over == 1 else f"{passed_over:,} of them are"
    return (
        f"{which} nearer than what came first: the index, which looks at a part of the rows only, has passed them "
        "over. Raise milvus.hnsw_ef (or what milvus.index has in its place), which costs time and no money"
    )


def _state(row: Vectors, in_lake: Vectors) -> str:
    """How the collection's vector of a row and the lake's agree."""
    if not np.isfinite(row).all():
        return "not_in_collection"
    if not np.isfinite(in_lake).all():
        return "not_in_lake"
    cosine = float(row @ in_lake) / max(float(np.linalg.norm(row) * np.linalg.norm(in_lake)), 1e-12)
    return "as_in_lake" if cosine >= _SAME_DIRECTION else "differs_from_lake"


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
