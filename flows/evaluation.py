"""What an evaluation found, as one object, as JSON and as lines for people; and the history of a collection's."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from flows.showing import short_source
from tasks.lake import Evaluation
from tasks.ranking import mean, ndcg_at, rank_of_first, recall_at, reciprocal_rank
from tasks.records import JsonValue

Kind = Literal["self", "questions"]

NDCG_K = 10
SOUND = 0.95
BROKEN = 0.1

_TOLD = 10
_WIDTH_OF_NAME = 12
_QUESTION_CHARACTERS = 160


@dataclass(frozen=True, slots=True)
class Measures:
    """Means over questions. `ndcg_at_10` is None where every question has one right answer."""

    questions: int
    hit_at_1: float
    recall: Mapping[int, float]
    mrr: float
    ndcg_at_10: float | None = None

    def as_json(self, kind: Kind) -> dict[str, JsonValue]:
        """Plain values; a first hit is a "self_hit" where questions are sentences of the chunks themselves."""
        name = "self_hit_at_1" if kind == "self" else "hit_at_1"
        values: dict[str, JsonValue] = {"questions": self.questions, name: self.hit_at_1, "mrr": self.mrr}
        values["recall"] = {str(k): value for k, value in self.recall.items()}
        if self.ndcg_at_10 is not None:
            values["ndcg_at_10"] = self.ndcg_at_10
        return values


@dataclass(frozen=True, slots=True)
class Judged:
    """One question's ranking: which expected item each hit is, and how much each expected item is worth."""

    found: tuple[int | None, ...]
    relevance: tuple[float, ...] = (1.0,)


@dataclass(frozen=True, slots=True)
class First:
    """The row that came first in place of the one that was expected."""

    source: str
    page: int | None
    chunk_number: int | None
    score: float


@dataclass(frozen=True, slots=True)
class Asked:
    """One question and what became of it.

    `source`, `page`, `chunk_number` and `id` are those of the chunk that it is a sentence of; or `source` is what was
    expected, and the others are None. `retrieved_rank` and `reranked_rank` are from 1, None for not found.
    `own_similarity` is the cosine of the question with the chunk's row, `lead` how far that is above other rows', in
    standard deviations. `row` says what is known of that row: "as_in_lake", "differs_from_lake", "not_in_collection",
    "not_in_lake", or "" where it was not asked.
    """

    question: str
    source: str
    retrieved_rank: int | None
    reranked_rank: int | None
    first: First | None
    page: int | None = None
    chunk_number: int | None = None
    id: str = ""
    line: int | None = None
    not_found: tuple[str, ...] = ()
    own_similarity: float | None = None
    lead: float | None = None
    row: str = ""
    suspicious: bool = False

    @property
    def rank(self) -> int | None:
        """The rank that a user of `search` would see."""
        return self.retrieved_rank if self.reranked_rank is None else self.reranked_rank


@dataclass(slots=True)
class EvaluationReport:
    """One evaluation.

    `series` is the same for evaluations whose measures may be compared, `basis` says what was asked. `sources` has the
    measures of each file, the worst first; `skipped` counts chunks by reason.
    """

    run: str
    started: str
    kind: Kind
    collection: str
    model: str
    space: str
    fingerprint: str
    reranker: str
    ks: tuple[int, ...]
    series: str
    basis: str
    retrieved: Measures
    reranked: Measures | None
    seed: int | None = None
    chunks: int = 0
    rows_in_collection: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    sources: tuple[tuple[str, Measures, Measures | None], ...] = ()
    asked: tuple[Asked, ...] = ()
    verdict: str = ""
    notes: list[str] = field(default_factory=list)
    tokens_billed: int = 0
    cost_cny: float = 0.0
    seconds: float = 0.0
    least: float | None = None

    @property
    def final(self) -> Measures:
        """What a user of `search` gets: with the reranker where there is one."""
        return self.retrieved if self.reranked is None else self.reranked

    @property
    def misses(self) -> list[Asked]:
        """The questions whose right answer does not come first; of written questions those that lack a source."""
        if self.kind == "questions":
            return [asked for asked in self.asked if asked.not_found]
        return [asked for asked in self.asked if asked.rank != 1]

    @property
    def suspicious(self) -> list[Asked]:
        """The questions whose own row does not look like its text."""
        return [asked for asked in self.asked if asked.suspicious]

    @property
    def exit_code(self) -> int:
        """1 when fewer come first than was demanded."""
        return 1 if self.least is not None and self.final.hit_at_1 < self.least else 0

    def summary(self) -> dict[str, JsonValue]:
        """What the history keeps."""
        return {
            "kind": self.kind,
            "started": self.started,
            "series": self.series,
            "basis": self.basis,
            "seed": self.seed,
            "model": self.model,
            "space": self.space,
            "fingerprint": self.fingerprint,
            "reranker": self.reranker,
            "chunks": self.chunks,
            "rows_in_collection": self.rows_in_collection,
            "retrieved": self.retrieved.as_json(self.kind),
            "reranked": self.reranked.as_json(self.kind) if self.reranked is not None else None,
            "misses": len(self.misses),
            "suspicious": len(self.suspicious),
            "tokens_billed": self.tokens_billed,
            "cost_cny": self.cost_cny,
            "seconds": self.seconds,
        }

    def as_json(self) -> dict[str, object]:
        """Plain values, as `eval --json` prints."""
        return {
            "run": self.run,
            "collection": self.collection,
            **self.summary(),
            "misses": [_plain(asked) for asked in self.misses],
            "suspicious": [_plain(asked) for asked in self.suspicious],
            "skipped": dict(self.skipped),
            "sources": [
                {
                    "source": source,
                    "retrieved": retrieved.as_json(self.kind),
                    "reranked": reranked.as_json(self.kind) if reranked is not None else None,
                }
                for source, retrieved, reranked in self.sources
            ],
            "asked": [_plain(asked) for asked in self.asked],
            "verdict": self.verdict,
            "notes": list(self.notes),
            "exit_code": self.exit_code,
        }

    def lines(self) -> list[str]:
        """The evaluation for people."""
        lines = [*self.notes, f"asked      {self.basis}{_skipped(self.skipped)}", "", *self._table()]
        worst = [entry for entry in self.sources if (entry[2] or entry[1]).hit_at_1 < 1.0]
        if worst:
            lines += ["", f"worst sources, of {len(self.sources):,}"]
            for source, retrieved, reranked in worst[:_TOLD]:
                last = reranked or retrieved
                lines.append(
                    f"  {last.hit_at_1:.3f}  {round(last.hit_at_1 * last.questions):,} of {last.questions:,} first  "
                    f"{short_source(source)}"
                )
        return [*lines, *self._told(), "", f"verdict    {self.verdict}"]

    def _table(self) -> list[str]:
        first = "self-hit@1" if self.kind == "self" else "hit@1"
        names = [first, *(f"recall@{k}" for k in self.ks if self.kind == "questions" or k > 1), "MRR"]
        names += ["nDCG@10"] if self.retrieved.ndcg_at_10 is not None else []
        rows = [("retrieved", self.retrieved)] + ([("reranked", self.reranked)] if self.reranked is not None else [])
        lines = [" " * 11 + "".join(f"{name:>{_WIDTH_OF_NAME}}" for name in names)]
        for name, measures in rows:
            values = [measures.hit_at_1]
            values += [measures.recall[k] for k in self.ks if self.kind == "questions" or k > 1]
            values += [measures.mrr] + ([measures.ndcg_at_10] if measures.ndcg_at_10 is not None else [])
            lines.append(f"{name:<11}" + "".join(f"{value:>{_WIDTH_OF_NAME}.3f}" for value in values))
        return lines

    def _told(self) -> list[str]:
        """The misses, and rows that are suspicious though they were found; suspicious ones first."""
        suspicious, found_too = self.suspicious, [one for one in self.suspicious if one not in self.misses]
        told = sorted([*self.misses, *found_too], key=lambda one: not one.suspicious)
        if not told:
            return []
        title = f"missed: {len(self.misses):,}" + (f"; suspicious rows: {len(suspicious):,}" if suspicious else "")
        lines = ["", title + (f"; the first {_TOLD} of these" if len(told) > _TOLD else "")]
        for one in told[:_TOLD]:
            lines += [f"  {_place(one)}", f"      {_became(one, max(self.ks))}", f"      asked: {_cut(one.question)}"]
        return lines


def measured(judged: Sequence[Judged], ks: Sequence[int], *, with_ndcg: bool) -> Measures:
    """The means over questions."""
    return Measures(
        questions=len(judged),
        hit_at_1=mean([float(rank_of_first(one.found) == 1) for one in judged]),
        recall={k: mean([recall_at(one.found, len(one.relevance), k) for one in judged]) for k in ks},
        mrr=mean([reciprocal_rank(one.found) for one in judged]),
        ndcg_at_10=mean([ndcg_at(one.found, one.relevance, NDCG_K) for one in judged]) if with_ndcg else None,
    )


@dataclass(frozen=True, slots=True)
class History:
    """The evaluations of a collection, the newest first."""

    collection: str
    evaluations: tuple[Evaluation, ...]

    def as_json(self) -> dict[str, object]:
        """Plain values, as `eval --history --json` prints."""
        return {
            "collection": self.collection,
            "evaluations": [{"run": evaluation.run, **evaluation.result} for evaluation in self.evaluations],
        }

    def lines(self) -> list[str]:
        """One evaluation a line, each with its change against the one before it that asked the same."""
        if not self.evaluations:
            return [f"no evaluation of collection {self.collection} yet; make one with: millrace eval"]
        lines = []
        for number, evaluation in enumerate(self.evaluations):
            result = evaluation.result
            earlier = (
                e.result for e in self.evaluations[number + 1 :] if e.result.get("series") == result.get("series")
            )
            before = next(earlier, None)
            lines += [f"{result.get('started')}  {result.get('basis')}", f"    {_settings_of(result)}"]
            for name in ("retrieved", "reranked"):
                measures = result.get(name)
                if isinstance(measures, dict):
                    lines.append(
                        f"    {name:<10} " + _with_change(measures, before.get(name) if before is not None else None)
                    )
        return lines


def _settings_of(result: Mapping[str, JsonValue]) -> str:
    reranker = result.get("reranker")
    return f"{result.get('space')}" + (f", reranked by {reranker}" if reranker else "")


def _with_change(measures: Mapping[str, JsonValue], before: JsonValue) -> str:
    then = _flat(before) if isinstance(before, dict) else {}
    fields = []
    for name, value in _flat(measures).items():
        change = value - then[name] if name in then else None
        fields.append(f"{name} {value:.3f}" + ("" if change is None else f" ({change:+.3f})"))
    return "  ".join(fields)


def _flat(measures: Mapping[str, JsonValue]) -> dict[str, float]:
    """The measures by the names that people call them."""
    values: dict[str, float] = {}
    for key, name in (("self_hit_at_1", "self-hit@1"), ("hit_at_1", "hit@1")):
        value = measures.get(key)
        if isinstance(value, int | float):
            values[name] = value
    recall = measures.get("recall")
    if isinstance(recall, dict):
        values |= {f"recall@{k}": v for k, v in recall.items() if k != "1" and isinstance(v, int | float)}
    for key, name in (("mrr", "MRR"), ("ndcg_at_10", "nDCG@10")):
        value = measures.get(key)
        if isinstance(value, int | float):
            values[name] = value
    return values


def _skipped(skipped: Mapping[str, int]) -> str:
    words = {
        "too_short": "have no sentence that is long enough",
        "not_its_own": "share all their sentences with others of the sample",
        "refused": "were refused by the provider",
    }
    told = [f"{count:,} {words.get(reason, reason)}" for reason, count in skipped.items() if count]
    return f"; not asked: {', '.join(told)}" if told else ""


def _place(asked: Asked) -> str:
    parts = [] if asked.line is None else [f"line {asked.line}"]
    parts.append(short_source(asked.source) if asked.line is None else f"expected {', '.join(asked.not_found)}")
    if asked.page is not None:
        parts.append(f"page {asked.page}")
    if asked.chunk_number is not None:
        parts.append(f"chunk {asked.chunk_number}")
    return ", ".join(parts)


def _became(asked: Asked, deepest: int) -> str:
    """What came of a question in place of what was expected."""
    rank = asked.rank
    parts = [f"not among the first {deepest}" if rank is None else f"at place {rank}"] if asked.line is None else []
    if asked.first is not None and rank != 1:
        first = asked.first
        where = short_source(first.source) + (f", page {first.page}" if first.page is not None else "")
        where += f", chunk {first.chunk_number}" if first.chunk_number is not None else ""
        parts.append(f"first came {where} ({first.score:.3f})")
    elif asked.first is None:
        parts.append("nothing was found")
    if asked.row == "not_in_collection":
        parts.append("its row is not in the collection")
    elif asked.own_similarity is not None:
        parts.append(f"its own row is at {asked.own_similarity:.3f}")
    if asked.row == "differs_from_lake":
        parts.append("that is not the lake's vector")
    elif asked.suspicious:
        parts.append("as far as any other row")
    return "; ".join(parts) or "found, but not all that was expected"


def _cut(question: str) -> str:
    return question if len(question) <= _QUESTION_CHARACTERS else question[:_QUESTION_CHARACTERS].rstrip() + " ..."


def _plain(asked: Asked) -> dict[str, object]:
    values = asdict(asked)
    for name in ("own_similarity", "lead"):
        if isinstance(values[name], float) and not math.isfinite(values[name]):
            values[name] = None
    return values
