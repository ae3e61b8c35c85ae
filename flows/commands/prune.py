"""`prune`: what is kept of old runs, and vectors that nothing uses, removed from the lake; never what is needed.

Records, timelines and pages of runs go by age; bills become sums; slips of dead workers go. Vectors go only when that
is asked for, since they were paid for, and an older version of a document may come back.
"""

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from millrace.configs.settings import Settings
from millrace.flows.monitoring.result import Result
from millrace.flows.wiring import components
from millrace.flows.wiring.collection_settings import with_remembered
from millrace.tasks.embedding import cost_cny, find_model
from millrace.tasks.errors import ConfigurationError, MillraceError
from millrace.tasks.lake import Lake, LakePath
from millrace.tasks.lake.retention import collections_of, is_used, old_run_files, slips, used_keys
from millrace.tasks.lake.storage.atomic import remove_files
from millrace.tasks.lake.storage.location import size_of
from millrace.tasks.records import EmbeddingSpace

KEEP_DAYS, KEEP_RUNS = 90, 100
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@dataclass(slots=True)
class Removed:
    """So many files, or vectors, and their size on disk; of vectors it is not known before they are written anew."""

    count: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PruneResult(Result):
    """What was removed, or with `done` False would be, by kind.

    `vectors_cny` is what was billed for the vectors, by today's price; None where a model has no price here.
    """

    lake: str
    before: str
    done: bool
    items: dict[str, Removed] = field(default_factory=dict)
    vectors: int = 0
    vectors_tokens: int = 0
    vectors_cny: float | None = 0.0
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The report for people."""
        verb = "removed" if self.done else "would go"
        lines = [
            f"{verb:10} {item.count:,} {_NAMES[kind]} ({item.size_bytes:,} bytes)"
            for kind, item in self.items.items()
            if item.count
        ]
        if self.vectors:
            price = "of unknown price" if self.vectors_cny is None else f"¥{self.vectors_cny:.4f} to embed them again"
            lines.append(
                f"{verb:10} {self.vectors:,} vectors that no chunk uses: {self.vectors_tokens:,} tokens, {price}"
            )
        if not lines:
            lines = [f"nothing in {self.lake} is older than {self.before} or unused"]
        elif not self.done:
            lines.append("nothing was removed; the same command with --yes removes it")
        return lines + [f"note       {note}" for note in self.notes]


_NAMES = {
    "runs": "records of runs",
    "timelines": "timelines",
    "reports": "pages of runs",
    "bills": "bills, whose sums stay",
    "slips": "slips of dead workers",
    "parsed": "files as they were parsed; the next run that needs one parses it again",
}


def age_of(text: str) -> timedelta:
    """The age that `90d`, `12h` or `8w` stands for. Raises ConfigurationError.

    >>> age_of("90d").days
    90
    """
    found = re.fullmatch(r"(\d{1,5})([hdw])", text.strip())
    if found is None:
        raise ConfigurationError(f"--older-than {text}: expected a number and h, d or w, such as 90d")
    return int(found[1]) * _UNITS[found[2]]


def prune(
    settings: Settings,
    *,
    older_than: timedelta = timedelta(days=KEEP_DAYS),
    keep: int = KEEP_RUNS,
    vectors: bool = False,
    parsed: bool = False,
    yes: bool = False,
    now: datetime | None = None,
) -> PruneResult:
    """Remove what is old or unused from the lake, of all its collections; without `yes` only say what that is.

    The newest `keep` runs of a collection stay, however old, and the last of each command that finished.

    Raises:
        ConfigurationError: There is no such lake.
        LeaseHeld: Another living process writes to the lake.
        LakeError: The lake cannot be read or written, or with `vectors` a chunk part is damaged.
    """
    components.existing_lake(settings)
    before = (now or datetime.now(UTC)) - older_than
    path, name = components.lake_path(settings), settings.milvus.collection
    with Lake.open(path, name, read_only=not yes, readable_by=settings.lake.readable_by) as lake:
        result = PruneResult(str(path), before.isoformat(timespec="seconds"), done=yes)
        others = [Lake.open(path, one, read_only=True) for one in collections_of(lake)]
        for other in others:
            for kind, files in {**old_run_files(other, before, keep=keep), "slips": slips(other)}.items():
                _remove(result, kind, files, yes=yes)
        bills = lake.usage.old_files(before)
        _count(result, "bills", bills)
        if yes:
            lake.usage.fold(bills)
        if parsed:
            _remove(result, "parsed", lake.parsed.files(), yes=yes)
        if vectors:
            result = _prune_vectors(result, lake, others, settings=settings, yes=yes)
    return result


def _remove(result: PruneResult, kind: str, files: Sequence[LakePath], *, yes: bool) -> None:
    _count(result, kind, files)
    if yes and files:
        remove_files(files)


def _count(result: PruneResult, kind: str, files: Sequence[LakePath]) -> None:
    item = result.items.setdefault(kind, Removed())
    item.count += len(files)
    item.size_bytes += sum(map(size_of, files))


def _prune_vectors(
    result: PruneResult, lake: Lake, lakes: Sequence[Lake], *, settings: Settings, yes: bool
) -> PruneResult:
    """The result, with the unused vectors; of a space that no document is in every one is unused."""
    vectors, tokens = 0, 0
    cny: float | None = 0.0
    used, spaces = used_keys(lakes)
    nothing = used[:0]
    with ExitStack() as stack:
        for summary in lake.spaces():
            known = used if spaces is None or summary.space.name in spaces else nothing
            store = stack.enter_context(lake.vectors(summary.space))
            found = store.unused(partial(is_used, used=known))
            if not found.vectors:
                continue
            vectors += found.vectors
            tokens += found.tokens
            price = _price(settings, summary.space, found.tokens)
            cny = None if price is None or cny is None else cny + price
            if yes:
                store.drop_unused(partial(is_used, used=known))
            result.notes.extend(damage.message for damage in store.damaged)
    return replace(result, vectors=vectors, vectors_tokens=tokens, vectors_cny=cny)


def _price(settings: Settings, space: EmbeddingSpace, tokens: int) -> float | None:
    """By the model of the settings, where the space is of that, else by what its endpoint is the name of."""
    try:
        spec = components.load_model(with_remembered(settings)).spec
        if spec.name != space.model:
            spec = find_model(space.endpoint, space.model)
    except MillraceError:  # a server of one's own
        return None
    return cost_cny(tokens, spec.price_cny_per_1k_tokens)
