"""What each run did and cost: one small JSON file a run.

What was billed, by run and model: one small JSON file a run, for all collections of the lake.

A run writes its bill while it goes on, so that one that is killed leaves its bill too, up to the last writing.

How well an index answered, by run: one small JSON file an evaluation.

The page of each run, for people: one HTML file a run, made from its record and timeline. Derived; may be deleted.

How each run went, sample by sample: one JSON file a run.

It is written while the run goes on, so that one that is killed leaves most of it. Nothing depends on it.
"""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

from millrace.tasks.lake.storage.atomic import make_folder, write_bytes_atomically
from millrace.tasks.lake.storage.location import LakePath
from millrace.tasks.records import JsonValue


@dataclass(frozen=True, slots=True)
class Bill:
    """What one run was billed for one model.

    `tokens_counted` of the texts that were bought, by our tokenizer; `tokens_billed` by the provider's answers;
    `tokens_in_doubt` of requests whose answer was lost, and that may have been billed; `updated` UTC, ISO 8601.
    """

    run: str
    collection: str
    model: str
    requests: int = 0
    tokens_counted: int = 0
    tokens_billed: int = 0
    tokens_in_doubt: int = 0
    cost_cny: float = 0.0
    updated: str = ""


class Bills:
    """The bills in `folder`."""

    def __init__(self, folder: LakePath) -> None:
        self._folder = folder

    def save(self, bill: Bill) -> None:
        """Write the run's bill for its model in place of its earlier version, durably. Raises LakeError."""
        make_folder(self._folder)
        data = json.dumps(asdict(bill), ensure_ascii=False, indent=1).encode()
        write_bytes_atomically(data, self._folder / f"{bill.run}.{_file_name(bill.model)}.json")

    def all(self) -> list[Bill]:
        """Every bill, oldest run first; one that cannot be read is left out (see `unreadable`)."""
        return [bill for path in self._paths() if (bill := _parsed_bill(path)) is not None]

    def unreadable(self) -> list[LakePath]:
        """Bills that are damaged. No run depends on them."""
        return [path for path in self._paths() if _parsed_bill(path) is None]

    def _paths(self) -> list[LakePath]:
        return sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []


def totals(bills: Iterable[Bill]) -> list[Bill]:
    """One bill a model, the sums over all its runs and collections, in the order of the models' names."""
    by_model: dict[str, Bill] = {}
    for bill in bills:
        so_far = by_model.get(bill.model, Bill(run="", collection="", model=bill.model))
        by_model[bill.model] = replace(
            so_far,
            requests=so_far.requests + bill.requests,
            tokens_counted=so_far.tokens_counted + bill.tokens_counted,
            tokens_billed=so_far.tokens_billed + bill.tokens_billed,
            tokens_in_doubt=so_far.tokens_in_doubt + bill.tokens_in_doubt,
            cost_cny=so_far.cost_cny + bill.cost_cny,
            updated=max(so_far.updated, bill.updated),
        )
    return [by_model[model] for model in sorted(by_model)]


def _file_name(model: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in model)


def _parsed_bill(path: LakePath) -> Bill | None:
    try:
        return Bill(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


EVALUATIONS_FOLDER = "evaluations"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the evaluation `run` measured, in the words of whoever made it; see `new_run_id` for what sorts by time."""

    run: str
    result: Mapping[str, JsonValue]


class Evaluations:
    """The evaluations of the collection whose folder is `collection_dir`, in `evaluations/`.

    Needs no lease: an index can be evaluated while something else is written to the lake.
    """

    def __init__(self, collection_dir: LakePath) -> None:
        self._folder = collection_dir / EVALUATIONS_FOLDER

    def append(self, evaluation: Evaluation) -> LakePath:
        """The file of the evaluation, durable. Raises LakeError when the disk refuses."""
        make_folder(self._folder)
        path = self._folder / f"{evaluation.run}.json"
        write_bytes_atomically(json.dumps(asdict(evaluation), ensure_ascii=False, indent=1).encode(), path)
        return path

    def newest(self, limit: int | None = None) -> list[Evaluation]:
        """The last `limit` evaluations, newest first; one that cannot be read is left out (see `unreadable`)."""
        found: list[Evaluation] = []
        for path in self._paths():
            if limit is not None and len(found) >= limit:
                break
            evaluation = _parsed_evaluation(path)
            if evaluation is not None:
                found.append(evaluation)
        return found

    def unreadable(self) -> list[LakePath]:
        """Evaluations that are damaged. Nothing depends on them; they can be deleted."""
        return [path for path in self._paths() if _parsed_evaluation(path) is None]

    def _paths(self) -> list[LakePath]:
        return sorted(self._folder.glob("*.json"), reverse=True) if self._folder.is_dir() else []


def _parsed_evaluation(path: LakePath) -> Evaluation | None:
    try:
        found = json.loads(path.read_bytes())
        run, result = found["run"], found["result"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Evaluation(run, result) if isinstance(run, str) and isinstance(result, dict) else None


REPORTS_FOLDER = "reports"


class Reports:
    """The pages of the collection whose folder is `collection_dir`, in `reports/`."""

    def __init__(self, collection_dir: LakePath) -> None:
        self._folder = collection_dir / REPORTS_FOLDER

    def save(self, run: str, page: str) -> LakePath:
        """Write the page in place of its earlier version; where it is. Raises LakeError when the disk refuses."""
        make_folder(self._folder)
        path = self._folder / f"{run}.html"
        write_bytes_atomically(page.encode(), path)
        return path


TIMELINES_FOLDER = "timelines"


@dataclass(frozen=True, slots=True)
class Timeline:
    """Samples of one run, oldest first, in the words of whoever took them.

    Every column has one number a sample; `facts` are what else is to be remembered. `updated` is UTC, ISO 8601.
    """

    run: str
    updated: str = ""
    columns: Mapping[str, Sequence[float]] = field(default_factory=dict)
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


class Timelines:
    """The timelines of the collection whose folder is `collection_dir`, in `timelines/`."""

    def __init__(self, collection_dir: LakePath) -> None:
        self._folder = collection_dir / TIMELINES_FOLDER

    def save(self, timeline: Timeline) -> None:
        """Write the timeline in place of its earlier version, durably. Raises LakeError when the disk refuses."""
        make_folder(self._folder)
        data = json.dumps(asdict(timeline), ensure_ascii=False, separators=(",", ":"), default=dict).encode()
        write_bytes_atomically(data, self._path(timeline.run))

    def of(self, run: str) -> Timeline | None:
        """The timeline of `run`; None when there is none, or none that can be read."""
        try:
            found = Timeline(**json.loads(self._path(run).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        return found if _is_sound(found) else None

    def _path(self, run: str) -> LakePath:
        return self._folder / f"{run}.json"


def _is_sound(timeline: Timeline) -> bool:
    columns, facts = timeline.columns, timeline.facts
    if not (isinstance(columns, dict) and isinstance(facts, dict)):
        return False
    if not all(isinstance(column, list) for column in columns.values()):
        return False
    numbers = all(type(value) in {int, float} for column in columns.values() for value in column)
    return numbers and len({len(column) for column in columns.values()}) <= 1


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run. Times are UTC, ISO 8601; `ended` and `exit` stay None when it was killed or is still running.

    `counts`, `tokens` and `cost_cny` are those of `ingest --json`; `settings` are the effective ones without secrets.
    """

    id: str
    command: str
    started: str
    ended: str | None = None
    exit: int | None = None
    counts: Mapping[str, JsonValue] = field(default_factory=dict)
    tokens: Mapping[str, JsonValue] = field(default_factory=dict)
    cost_cny: float = 0.0
    settings: Mapping[str, JsonValue] = field(default_factory=dict)


def new_run_id(now: datetime | None = None) -> str:
    """An id that is unique and sorts by time, e.g. "20261120T141530.250Z-9c3f01"."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    return f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z-{secrets.token_hex(3)}"


class Runs:
    """The run records of the collection whose folder is `collection_dir`, in `runs/`."""

    def __init__(self, collection_dir: LakePath) -> None:
        self._folder = collection_dir / "runs"

    def save(self, record: RunRecord) -> None:
        """Write the record in place of its earlier version, durably. Raises LakeError when the disk refuses."""
        make_folder(self._folder)
        data = json.dumps(asdict(record), ensure_ascii=False, indent=1, default=dict).encode()
        write_bytes_atomically(data, self._folder / f"{record.id}.json")

    def newest(self, limit: int | None = None) -> list[RunRecord]:
        """The last `limit` runs, newest first; a record that cannot be read is left out (see `unreadable`)."""
        records: list[RunRecord] = []
        for path in self._paths():
            record = _parsed_run(path)
            if record is not None:
                records.append(record)
            if limit is not None and len(records) >= limit:
                break
        return records

    def unreadable(self) -> list[LakePath]:
        """Records that are damaged. Nothing depends on them; they can be deleted."""
        return [path for path in self._paths() if _parsed_run(path) is None]

    def _paths(self) -> list[LakePath]:
        return sorted(self._folder.glob("*.json"), reverse=True) if self._folder.is_dir() else []


def _parsed_run(path: LakePath) -> RunRecord | None:
    try:
        return RunRecord(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
