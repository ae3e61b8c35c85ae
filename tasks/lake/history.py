"""What is remembered of each run: what it did and cost, how it went, how well the index answered, and its page.

All of it is one small file a run, and nothing depends on any of them: a damaged one is named and passed over. They are
written while a run goes on, so that one that is killed leaves most of it.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Generic, TypeVar

from millrace.tasks.errors import LakeError
from millrace.tasks.lake.storage.atomic import Damage, make_folder, remove_files, write_bytes_atomically
from millrace.tasks.lake.storage.json_file import read_json, write_json
from millrace.tasks.lake.storage.location import LakePath, names_in
from millrace.tasks.records import JsonValue

EVALUATIONS_FOLDER = "evaluations"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run. Times are UTC, ISO 8601; `ended` and `exit` stay None when it was killed or is still running.

    `counts`, `tokens` and `cost_cny` are those of `ingest --json`; `settings` are the effective ones without secrets,
    empty for a run that was refused before it began. `error` says what stopped it, "" for nothing.
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
    error: str = ""


@dataclass(frozen=True, slots=True)
class RunUsage:
    """What one run was billed for one model.

    `tokens_counted` of the texts that were embedded, by our tokenizer; `tokens_billed` by the provider's answers;
    `tokens_in_doubt` of requests whose answer was lost, and that may have been billed; `updated` UTC, ISO 8601.
    `batch_tokens_billed` are those among the billed that came by Batch, `batch_saved_cny` what that saved.
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
    batch_tokens_billed: int = 0
    batch_saved_cny: float = 0.0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the evaluation `run` measured, by names that the caller chooses; see `new_run_id` for what sorts by time."""

    run: str
    result: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Samples of one run, oldest first, by names that the caller chooses.

    Every column has one number a sample; `facts` are what else is to be remembered. `updated` is UTC, ISO 8601.
    """

    run: str
    updated: str = ""
    columns: Mapping[str, Sequence[float]] = field(default_factory=dict)
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


_AnyRecord = RunRecord | RunUsage | Evaluation | Timeline
Record = TypeVar("Record", bound=_AnyRecord)


class RunFiles(Generic[Record]):
    """The files in `folder`, each one `kind` of record of one run. Needs no lease.

    `consequence` ends the message about a damaged one. Without `indent` a file is one line.
    """

    def __init__(
        self,
        folder: LakePath,
        kind: type[Record],
        *,
        consequence: str = "Nothing depends on it; it can be deleted.",
        indent: int | None = 1,
    ) -> None:
        self._folder = folder
        self._kind = kind
        self._consequence = consequence
        self._indent = indent

    def save(self, record: Record) -> LakePath:
        """The file of the record, written in place of its earlier version, durably. Raises LakeError."""
        make_folder(self._folder)
        path = self._path(stem_of(record))
        write_json(path, asdict(record), indent=self._indent)
        return path

    def newest(self, limit: int | None = None) -> list[Record]:
        """The last `limit` records, newest first; one that cannot be read is left out (see `damaged`)."""
        return list(islice(self.newest_first(), limit))

    def newest_first(self) -> Iterator[Record]:
        """Every record that can be read, newest first, each read when it is asked for."""
        for name in reversed(self._names()):
            yield from self._readable(self._folder / name)

    def oldest_first(self) -> list[Record]:
        """Every record that can be read."""
        return self.newest()[::-1]

    def of(self, run: str) -> Record | None:
        """The record of `run`; None when there is none, or it cannot be read."""
        return next(self._readable(self._path(run)), None)

    def remove(self, record: Record) -> None:
        """Delete the record's file, durably. Raises LakeError."""
        remove_files([self._path(stem_of(record))])

    def damaged(self, newest: int | None = None) -> list[Damage]:
        """The files that cannot be read, all or of the `newest`, oldest first, and what follows from it."""
        names = self._names()[-newest if newest else None :]
        return [damage for name in names for damage in self._problem(self._folder / name)]

    def _problem(self, path: LakePath) -> list[Damage]:
        try:
            self._read(path)
        except FileNotFoundError:
            return []
        except LakeError as error:
            return [Damage(path, f"{error} {self._consequence}")]
        return []

    def _readable(self, path: LakePath) -> Iterator[Record]:
        try:
            yield self._read(path)
        except (FileNotFoundError, LakeError):
            return

    def _read(self, path: LakePath) -> Record:
        """The record in the file. Raises FileNotFoundError, LakeUnreachable, LakeError."""
        content = read_json(path)
        try:
            record = self._kind(**content)
        except TypeError as error:
            raise LakeError(f"{path} is damaged (it has other fields).") from error
        if not _is_sound(record):
            raise LakeError(f"{path} is damaged (its fields have other types).")
        return record

    def _names(self) -> list[str]:
        """The names of the files, oldest first: of ten thousand paths the making and sorting alone takes a second."""
        return sorted(name for name in names_in(self._folder) if name.endswith(".json"))

    def _path(self, stem: str) -> LakePath:
        return self._folder / f"{stem}.json"


class RunPages:
    """The page of each run, for people: one HTML file a run in `folder`, made from its record and timeline."""

    def __init__(self, folder: LakePath) -> None:
        self._folder = folder

    def save(self, run: str, page: str) -> LakePath:
        """The file of the page, written in place of its earlier version. Raises LakeError when the disk refuses."""
        make_folder(self._folder)
        path = self._folder / f"{run}.html"
        write_bytes_atomically(page.encode(), path)
        return path


def new_run_id(now: datetime | None = None) -> str:
    """An id that is unique and sorts by time, e.g. "20261120T141530.250Z-9c3f01"."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    return f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z-{secrets.token_hex(3)}"


def usage_by_model(usages: Iterable[RunUsage]) -> list[RunUsage]:
    """One sum a model, over all its runs and collections, in the order of the models' names."""
    by_model: dict[str, RunUsage] = {}
    for usage in usages:
        so_far = by_model.get(usage.model, RunUsage(run="", collection="", model=usage.model))
        by_model[usage.model] = replace(
            so_far,
            requests=so_far.requests + usage.requests,
            tokens_counted=so_far.tokens_counted + usage.tokens_counted,
            tokens_billed=so_far.tokens_billed + usage.tokens_billed,
            tokens_in_doubt=so_far.tokens_in_doubt + usage.tokens_in_doubt,
            cost_cny=so_far.cost_cny + usage.cost_cny,
            updated=max(so_far.updated, usage.updated),
            batch_tokens_billed=so_far.batch_tokens_billed + usage.batch_tokens_billed,
            batch_saved_cny=so_far.batch_saved_cny + usage.batch_saved_cny,
        )
    return [by_model[model] for model in sorted(by_model)]


def stem_of(record: _AnyRecord) -> str:
    """The name of the record's file, without its suffix."""
    match record:
        case RunRecord():
            return record.id
        case RunUsage():
            return f"{record.run}." + "".join(c if c.isalnum() or c in "-_." else "_" for c in record.model)
        case _:
            return record.run


def _is_sound(record: _AnyRecord) -> bool:
    """Whether the values from a file are of the types that the fields promise, as far as readers rely on them."""
    match record:
        case RunRecord():
            mappings = record.counts, record.tokens, record.settings
            words = record.id, record.command, record.started, record.error
            return _all_are(dict, mappings) and _all_are(str, words) and _all_are((int, float), [record.cost_cny])
        case RunUsage():
            numbers = record.requests, record.tokens_counted, record.tokens_billed, record.tokens_in_doubt
            texts = record.run, record.model, record.updated
            return _all_are((int, float), [*numbers, record.cost_cny]) and _all_are(str, texts)
        case Evaluation():
            return _all_are(str, [record.run]) and _all_are(dict, [record.result])
        case Timeline():
            if not (_all_are(dict, [record.columns, record.facts]) and _all_are(list, record.columns.values())):
                return False
            numbers_only = all(type(value) in {int, float} for column in record.columns.values() for value in column)
            return numbers_only and len({len(column) for column in record.columns.values()}) <= 1


def _all_are(kind: type | tuple[type, ...], values: Iterable[Any]) -> bool:
    return all(isinstance(value, kind) for value in values)
