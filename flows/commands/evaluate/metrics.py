"""The measures of an evaluation, and how they changed from one to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from millrace.flows.monitoring.result import Result
from millrace.tasks.lake import Evaluation
from millrace.tasks.quality.metrics import mean, ndcg_at, rank_of_first, recall_at, reciprocal_rank
from millrace.tasks.records import JsonValue

Kind = Literal["self", "questions"]

NDCG_K = 10


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
class Judgement:
    """One question's ranking: which expected item each hit is, and how much each expected item is worth."""

    found: tuple[int | None, ...]
    relevance: tuple[float, ...] = (1.0,)


def measured(judged: Sequence[Judgement], ks: Sequence[int], *, with_ndcg: bool) -> Measures:
    """The means over questions."""
    return Measures(
        questions=len(judged),
        hit_at_1=mean([float(rank_of_first(one.found) == 1) for one in judged]),
        recall={k: mean([recall_at(one.found, len(one.relevance), k) for one in judged]) for k in ks},
        mrr=mean([reciprocal_rank(one.found) for one in judged]),
        ndcg_at_10=mean([ndcg_at(one.found, one.relevance, NDCG_K) for one in judged]) if with_ndcg else None,
    )


@dataclass(frozen=True, slots=True)
class History(Result):
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
            series = f" ({result.get('series')})" if result.get("kind") == "questions" else ""
            lines += [f"{result.get('started')}  {result.get('basis')}{series}", f"    {_settings_of(result)}"]
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
