"""`eval`: proves an index by asking it, without a model to judge the answers.

Either chunks of the lake are asked for by a sentence of their own text, and in an index in which every vector sits on
its own text they come first; or written questions are asked, each with the sources that answer it.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from millrace.configs.settings import Settings
from millrace.flows.commands.evaluate.known_item import KnownItemEvaluation
from millrace.flows.commands.evaluate.labelled import LabelledQueries, QuerySet
from millrace.flows.commands.evaluate.metrics import History, Judgement, Measures, measured
from millrace.flows.commands.evaluate.queries import Answer, QueryRunner, Questions
from millrace.flows.commands.evaluate.report import EvaluationResult, TopHit
from millrace.flows.commands.search.alias import with_alias_resolved
from millrace.flows.commands.search.budget import QueryBudget
from millrace.flows.commands.search.retrieve import (
    QueryVector,
    check_query,
    compatibility_of,
    open_indexed,
    retrieval_score_kind,
)
from millrace.flows.monitoring.progress import shown
from millrace.flows.wiring import components
from millrace.tasks.errors import ConfigurationError, RunStopped
from millrace.tasks.lake import Evaluation, Lake, new_run_id
from millrace.tasks.milvus import Collection
from millrace.tasks.quality.questions import Question, is_source, parse_questions
from millrace.tasks.quality.sampling import draw_sample
from millrace.tasks.reconcile.expected_rows import VectorStores

_SAMPLE = 200
_DEEPEST = 1_000


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What is asked: `sample` chunks drawn by `seed`, or the questions of a file; and how deep is looked.

    Below `min_self_hit`, the share of chunks that come first, the command fails.
    """

    sample: int = _SAMPLE
    seed: int = 0
    questions: Path | None = None
    ks: tuple[int, ...] = (1, 5, 10, 20)
    rerank: bool = True
    min_self_hit: float | None = None


def options_of(
    *,
    sample: int | None,
    seed: int | None,
    questions: Path | None,
    ks: str,
    rerank: bool,
    min_self_hit: float | None,
) -> EvaluationOptions:
    """The options as the command line has them; `ks` is like "1,5,10".

    Raises `ConfigurationError` for invalid depths, and for options of a sample beside a file of questions.
    """
    try:
        depths = tuple(sorted({int(k) for k in ks.split(",")}))
    except ValueError:
        depths = ()
    if not depths or depths[0] < 1 or depths[-1] > _DEEPEST:
        raise ConfigurationError(f"--k is {ks!r}; expected whole numbers from 1 to {_DEEPEST:,}, such as 1,5,10")
    if questions is not None and not (sample is None and seed is None and min_self_hit is None):
        raise ConfigurationError(
            "--sample, --seed and --min-self-hit are for chunks asked by their own sentences, not for --questions"
        )
    return EvaluationOptions(
        sample=_SAMPLE if sample is None else sample,
        seed=seed or 0,
        questions=questions,
        ks=depths,
        rerank=rerank,
        min_self_hit=min_self_hit,
    )


def evaluate(
    settings: Settings, options: EvaluationOptions, *, say: Callable[[str], None], quiet: bool
) -> EvaluationResult:
    """Query the index, and record the result in the lake's history. `say` gets the price before anything is spent.

    Raises:
        ConfigurationError: There is no such lake, the file of questions has a bad line, or queries cannot be compared
            with the index.
        BudgetReached: It would cost more than the cap.
        RunStopped: Milvus, the provider or the reranker does not answer; or there is nothing to ask by.
    """
    return with_alias_resolved(
        settings, lambda chosen, notes: _Evaluation(chosen, options, notes).run(say, quiet=quiet)
    )


def history(settings: Settings) -> History:
    """The evaluations so far of the collection that searches use."""

    def read(chosen: Settings, _notes: list[str]) -> History:
        return History(chosen.milvus.collection, tuple(components.existing_lake(chosen).evaluations.newest()))

    return with_alias_resolved(settings, read)


class _Evaluation:
    def __init__(self, settings: Settings, options: EvaluationOptions, notes: list[str]) -> None:
        self._settings = settings
        self._options = options
        self._model = components.load_model(settings)
        self._space = components.query_space(settings, self._model)
        self._run = new_run_id()
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._began = time.monotonic()
        self._notes = notes

    def run(self, say: Callable[[str], None], *, quiet: bool) -> EvaluationResult:
        settings = self._settings
        lake = components.existing_lake(settings)
        manifest = lake.manifest.read()
        self._check_compatibility(lake)
        query_set = self._query_set(lake, manifest)
        for number, text in enumerate(query_set.texts):
            try:
                check_query(text, self._model)
            except ConfigurationError as error:
                raise ConfigurationError(f"{query_set.labels[number]}: {error}") from error
        runner = self._runner(query_set.texts, manifest)
        with open_indexed(settings, self._model) as collection:
            rows, is_shared = collection.count(), bool(collection.owners() - {lake.identity})
            if price := runner.price():
                say(price)
            with shown(runner.questions.progress, quiet=quiet):
                refused, vectors, answers = asyncio.run(self._ask(runner, query_set, collection, lake))
            with VectorStores(lake, lake.manifest.spaces(), self._space) as stores:
                query_set.inspect_rows(collection, stores, vectors, answers)
        report = self._report(query_set, runner, answers, manifest, refused)
        report = replace(report, rows_in_collection=rows)
        if rows < report.chunks or (rows > report.chunks and not is_shared):
            report.notes.append(
                f"warning: the collection has {rows:,} rows and the lake knows {report.chunks:,} "
                "chunks of it; `millrace verify` names those that are missing or unowned"
            )
        lake.evaluations.save(Evaluation(self._run, report.summary()))
        return report

    def _check_compatibility(self, lake: Lake) -> None:
        compatibility = compatibility_of(self._settings, lake, self._space)
        if compatibility.refusal:
            raise ConfigurationError(compatibility.refusal)
        self._notes += [f"warning: {warning}" for warning in compatibility.warnings]
        self._notes += components.search_notes(self._model)

    def _query_set(self, lake: Lake, manifest: pa.Table) -> QuerySet:
        if not (pc.sum(manifest["chunks"]).as_py() or 0):
            raise ConfigurationError(
                f"the lake knows no chunk of collection {self._settings.milvus.collection}; run `millrace ingest` first"
            )
        if self._options.questions is not None:
            query_set = LabelledQueries(_questions(self._options.questions), max(self._options.ks))
            self._note_unknown_sources(query_set, manifest)
            return query_set
        sample = draw_sample(lake, manifest, size=self._options.sample, seed=self._options.seed)
        self._notes += [f"warning: {problem}" for problem in sample.problems]
        of_self = KnownItemEvaluation(sample, by_cosine=retrieval_score_kind(self._settings) == "cosine")
        if not of_self.texts:
            raise RunStopped(
                f"none of the {sample.rows.num_rows:,} chunks that were drawn has a sentence of its own to ask by; "
                "write questions down and ask them with --questions"
            )
        return of_self

    def _note_unknown_sources(self, query_set: LabelledQueries, manifest: pa.Table) -> None:
        known = manifest.filter(pc.greater(manifest["chunks"], 0))["source"].to_pylist()
        names = {name for question in query_set.questions for name in question.sources}
        unknown = {name for name in names if not any(is_source(name, source) for source in known)}
        for question in query_set.questions:
            self._notes += [
                f"warning: line {question.line} expects {name}, which no document of the lake is called"
                for name in question.sources
                if name in unknown
            ]

    def _runner(self, texts: Sequence[str], manifest: pa.Table) -> QueryRunner:
        rerank_spec = components.find_rerank_spec(self._settings) if self._options.rerank else None
        budget = QueryBudget(self._settings, self._model, rerank_spec)
        return QueryRunner(
            Questions(self._settings, self._model, self._space, texts, self._run, budget),
            rerank_spec=rerank_spec,
            depth=max(*self._options.ks, self._settings.search.top_k),
            mean_tokens=pc.sum(manifest["tokens"]).as_py() / pc.sum(manifest["chunks"]).as_py(),
        )

    async def _ask(
        self, runner: QueryRunner, query_set: QuerySet, collection: Collection, lake: Lake
    ) -> tuple[dict[int, str], dict[int, QueryVector], list[Answer]]:
        """Why questions were refused, the vectors of the others, and their answers."""
        reranker = components.open_reranker(self._settings) if runner.rerank_spec is not None else None
        try:
            questions = runner.questions
            refused = await questions.embed()
            numbers = [number for number in range(len(questions.texts)) if number not in refused]
            store = lake.vectors(self._space)
            try:
                vectors = dict(zip(numbers, questions.vectors(store, numbers), strict=True))
            finally:
                store.close()
            return refused, vectors, await runner.answers(collection, reranker, vectors, query_set.judge)
        finally:
            if reranker is not None:
                await reranker.close()

    def _report(
        self,
        query_set: QuerySet,
        runner: QueryRunner,
        answers: list[Answer],
        manifest: pa.Table,
        refused: dict[int, str],
    ) -> EvaluationResult:
        budget = runner.questions.budget
        retrieved, reranked = self._measured(query_set, answers, with_ndcg=query_set.kind == "questions")
        report = EvaluationResult(
            run=self._run,
            started=self._started,
            kind=query_set.kind,
            collection=self._settings.milvus.collection,
            model=self._model.spec.name,
            space=self._space.name,
            fingerprint=components.fingerprint(self._settings, self._model),
            reranker=runner.rerank_spec.name if runner.rerank_spec is not None else "",
            ks=self._options.ks,
            series=self._series(query_set),
            basis=query_set.basis(len(answers), self._options.seed),
            retrieved=retrieved,
            reranked=reranked if runner.rerank_spec is not None else None,
            seed=self._options.seed if query_set.kind == "self" else None,
            chunks=pc.sum(manifest["chunks"]).as_py(),
            skipped=Counter(query_set.skipped) + Counter(refused=len(refused)),
            sources=self._by_source(query_set, answers),
            asked=tuple(query_set.outcome(answer, _unexpected_first(answer)) for answer in answers),
            notes=[*self._notes, *sorted(runner.notices)],
            tokens_billed=budget.tokens + budget.rerank_tokens,
            cost_cny=budget.spent_cny,
            least=self._options.min_self_hit,
        )
        seconds = round(time.monotonic() - self._began, 3)
        return replace(report, verdict=query_set.verdict(report), seconds=seconds)

    def _measured(
        self, query_set: QuerySet, answers: Sequence[Answer], *, with_ndcg: bool
    ) -> tuple[Measures, Measures]:
        """The means over questions, as retrieved and as reranked."""
        retrieved = [Judgement(a.retrieved.found, query_set.relevance(a.number)) for a in answers]
        reranked = [Judgement(a.reranked.found, query_set.relevance(a.number)) for a in answers if a.reranked]
        ks = self._options.ks
        return measured(retrieved, ks, with_ndcg=with_ndcg), measured(reranked, ks, with_ndcg=with_ndcg)

    def _by_source(
        self, query_set: QuerySet, answers: Sequence[Answer]
    ) -> tuple[tuple[str, Measures, Measures | None], ...]:
        """The measures of each file, the worst first; of equals the one with more questions is worse."""
        of_file: dict[str, list[Answer]] = defaultdict(list)
        for answer in answers:
            if path := query_set.path(answer.number):
                of_file[path].append(answer)
        measures = []
        for path, group in of_file.items():
            retrieved, reranked = self._measured(query_set, group, with_ndcg=False)
            measures.append((path, retrieved, reranked if group[0].reranked is not None else None))
        return tuple(sorted(measures, key=lambda m: ((m[2] or m[1]).hit_at_1, -m[1].questions, m[0])))

    def _series(self, query_set: QuerySet) -> str:
        if self._options.questions is not None:
            return f"questions of {self._options.questions.name}, {query_set.digest}"
        return f"sample {self._options.sample}, seed {self._options.seed}"


def _questions(path: Path) -> list[Question]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigurationError(f"the file of questions {path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the file of questions {path} cannot be read: {error}") from error
    return parse_questions(text.split("\n"), origin=str(path))


def _unexpected_first(answer: Answer) -> TopHit | None:
    """The hit that came first where another was expected."""
    ranked = answer.final.first
    if ranked is None or answer.final.rank == 1:
        return None
    metadata = ranked.hit.metadata
    page, number = metadata.get("page_start"), metadata.get("chunk_number")
    return TopHit(
        source=str(metadata.get("source") or ""),
        page=page if isinstance(page, int) else None,
        chunk_number=number if isinstance(number, int) else None,
        score=ranked.hit.score if ranked.rerank_score is None else ranked.rerank_score,
    )
