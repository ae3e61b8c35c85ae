"""What an evaluation found, as one object, as JSON and as lines for people."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from millrace.flows.commands.evaluate.metrics import Kind, Measures
from millrace.flows.commands.search.excerpt import short_source
from millrace.flows.monitoring.result import Result, plain
from millrace.tasks.errors import ExitCode
from millrace.tasks.records import JsonValue

SOUND = 0.95
BROKEN = 0.1

_SHOWN = 10
_WIDTH_OF_NAME = 12
_QUESTION_CHARACTERS = 160
_HISTORY = (
    *("kind", "started", "series", "basis", "seed", "model", "space", "fingerprint", "reranker", "chunks"),
    *("rows_in_collection", "tokens_billed", "cost_cny", "seconds"),
)
"""The fields that the history keeps as they are."""


@dataclass(frozen=True, slots=True)
class TopHit:
    """The row that came first in place of the one that was expected."""

    source: str
    page: int | None
    chunk_number: int | None
    score: float


@dataclass(frozen=True, slots=True)
class QueryOutcome:
    """One question and what became of it.

    `source`, `page`, `chunk_number` and `id` are those of the chunk that it is a sentence of; or `source` is what was
    expected, and the others are None. `retrieved_rank` and `reranked_rank` are from 1, None for not found.
    `own_similarity` is the cosine of the question with the chunk's row, `lead` how far that is above other rows', in
    standard deviations. `row` says what is known of that row: "as_in_lake", "differs_from_lake", "not_in_collection",
    "not_in_lake", or "" where it was not asked. `passed_over`: it is nearer than what was retrieved first.
    """

    question: str
    source: str
    retrieved_rank: int | None
    reranked_rank: int | None
    first: TopHit | None
    page: int | None = None
    chunk_number: int | None = None
    id: str = ""
    line: int | None = None
    not_found: tuple[str, ...] = ()
    own_similarity: float | None = None
    lead: float | None = None
    row: str = ""
    passed_over: bool = False
    suspicious: bool = False

    @property
    def rank(self) -> int | None:
        """The rank that a user of `search` would see."""
        return self.retrieved_rank if self.reranked_rank is None else self.reranked_rank


@dataclass(frozen=True, slots=True)
class EvaluationResult(Result):
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
    asked: tuple[QueryOutcome, ...] = ()
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
    def misses(self) -> list[QueryOutcome]:
        """The questions whose right answer does not come first; of written questions those that lack a source."""
        if self.kind == "questions":
            return [asked for asked in self.asked if asked.not_found]
        return [asked for asked in self.asked if asked.rank != 1]

    @property
    def suspicious(self) -> list[QueryOutcome]:
        """The questions whose own row does not look like its text."""
        return [asked for asked in self.asked if asked.suspicious]

    @property
    def exit_code(self) -> int:
        """1 when fewer come first than was demanded."""
        is_below = self.least is not None and self.final.hit_at_1 < self.least
        return ExitCode.STOPPED if is_below else ExitCode.DONE

    def summary(self) -> dict[str, JsonValue]:
        """What the history keeps."""
        return {
            **{name: getattr(self, name) for name in _HISTORY},
            "retrieved": self.retrieved.as_json(self.kind),
            "reranked": self.reranked.as_json(self.kind) if self.reranked is not None else None,
            "misses": len(self.misses),
            "suspicious": len(self.suspicious),
        }

    def as_json(self) -> dict[str, object]:
        """Plain values, as `eval --json` prints."""
        return {
            "run": self.run,
            "collection": self.collection,
            **self.summary(),
            "misses": plain(self.misses),
            "suspicious": plain(self.suspicious),
            "skipped": dict(self.skipped),
            "sources": [
                {
                    "source": source,
                    "retrieved": retrieved.as_json(self.kind),
                    "reranked": reranked.as_json(self.kind) if reranked is not None else None,
                }
                for source, retrieved, reranked in self.sources
            ],
            "asked": plain(self.asked),
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
            for source, retrieved, reranked in worst[:_SHOWN]:
                last = reranked or retrieved
                lines.append(
                    f"  {last.hit_at_1:.3f}  {round(last.hit_at_1 * last.questions):,} of {last.questions:,} first  "
                    f"{short_source(source)}"
                )
        return [*lines, *self._miss_lines(), "", f"verdict    {self.verdict}"]

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

    def _miss_lines(self) -> list[str]:
        """The misses, and rows that are suspicious though they were found; suspicious ones first."""
        suspicious, found_too = self.suspicious, [one for one in self.suspicious if one not in self.misses]
        shown = sorted([*self.misses, *found_too], key=lambda one: not one.suspicious)
        if not shown:
            return []
        title = f"missed: {len(self.misses):,}" + (f"; suspicious rows: {len(suspicious):,}" if suspicious else "")
        lines = ["", title + (f"; the first {_SHOWN} of these" if len(shown) > _SHOWN else "")]
        for one in shown[:_SHOWN]:
            lines += [
                f"  {_citation(one)}",
                f"      {_outcome(one, max(self.ks))}",
                f"      asked: {_shortened(one.question)}",
            ]
        return lines


def _skipped(skipped: Mapping[str, int]) -> str:
    words = {
        "too_short": "have no sentence that is long enough",
        "not_its_own": "share all their sentences with others of the sample",
        "refused": "were refused by the provider",
    }
    shown = [f"{count:,} {words.get(reason, reason)}" for reason, count in skipped.items() if count]
    return f"; not asked: {', '.join(shown)}" if shown else ""


def _citation(asked: QueryOutcome) -> str:
    parts = [] if asked.line is None else [f"line {asked.line}"]
    parts.append(short_source(asked.source) if asked.line is None else f"expected {', '.join(asked.not_found)}")
    if asked.page is not None:
        parts.append(f"page {asked.page}")
    if asked.chunk_number is not None:
        parts.append(f"chunk {asked.chunk_number}")
    return ", ".join(parts)


def _outcome(asked: QueryOutcome, deepest: int) -> str:
    """What came of a question, and what is known of the row that it is about."""
    parts = []
    if asked.line is None:
        parts.append(f"not among the first {deepest}" if asked.rank is None else f"at place {asked.rank}")
    if asked.first is not None:
        parts.append(f"first came {_citation_of_hit(asked.first)} ({asked.first.score:.3f})")
    elif asked.rank is None:
        parts.append("nothing was found")
    if asked.row == "not_in_collection":
        parts.append("its row is not in the collection")
    elif asked.own_similarity is not None:
        which = ", with another vector than the lake's" if asked.row == "differs_from_lake" else ""
        which = which or (", no nearer than any other row" if asked.suspicious else "")
        which = which or (", nearer than what was retrieved: the index passed it over" if asked.passed_over else "")
        parts.append(f"its own row is at {asked.own_similarity:.3f}{which}")
    return "; ".join(parts) or "the first hit was expected"


def _citation_of_hit(first: TopHit) -> str:
    page = f", page {first.page}" if first.page is not None else ""
    chunk = f", chunk {first.chunk_number}" if first.chunk_number is not None else ""
    return f"{short_source(first.source)}{page}{chunk}"


def _shortened(question: str) -> str:
    return question if len(question) <= _QUESTION_CHARACTERS else question[:_QUESTION_CHARACTERS].rstrip() + " ..."
