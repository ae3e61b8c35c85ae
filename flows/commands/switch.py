"""`switch`: another collection behind the name that searches use, in one step, and back again.

The new collection is made beside the old one, tried, and only then is `milvus.alias` moved to it. A collection of
another model or chunking is made by `ingest`; one that only looks otherwise (fields, index, metric) is made here, from
the lake.

Steps, each of which a killed run may have been the last to take, and each harmless to take again: the collection begun
(noted in the lake), its rows upserted, the lake's record of it, the checks, the way back noted, the alias moved.
"""

import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from millrace.configs.settings import Settings
from millrace.flows.commands.rebuild import RebuildResult, rebuild
from millrace.flows.commands.search.alias import required_alias
from millrace.flows.commands.search.retrieve import open_indexed
from millrace.flows.monitoring.result import Result
from millrace.flows.monitoring.run_record import recorded
from millrace.flows.wiring import components, milvus
from millrace.flows.wiring.alias_notes import alias_key
from millrace.flows.wiring.collection_settings import with_remembered
from millrace.flows.wiring.milvus import redacted_uri
from millrace.flows.wiring.ownership import refuse_to_drop
from millrace.tasks.errors import CollectionMissing, ConfigurationError, ExitCode, RunStopped
from millrace.tasks.lake import Checkpoint, Lake, new_run_id, no_checkpoint
from millrace.tasks.milvus import Aliases
from millrace.tasks.quality.sampling import draw_sample
from millrace.tasks.reconcile.expected_rows import VectorStores
from millrace.tasks.reconcile.switch_checks import TOP_K, SwitchChecks, compare_answers, count_rows, find_rows


@dataclass(slots=True)
class SwitchResult(Result):
    """What `alias` stood for and stands for now.

    `built` counts the rows that were made from the lake for the new collection; `lacking_documents` those that searches
    found before and the new collection has not; `earlier` the collections that the alias stood for before, the last one
    last. `problems` say why it was not moved.
    """

    alias: str
    uri: str
    collection: str
    before: str = ""
    now: str = ""
    moved: bool = False
    built: int = 0
    trial: SwitchChecks | None = None
    lacking_documents: int = 0
    dropped: list[str] = field(default_factory=list)
    earlier: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def error(self) -> str:
        """Why the alias was not moved, "" where nothing stood against it."""
        return f"{self.alias} was not moved: {'; '.join(self.problems)}" if self.problems else ""

    @property
    def exit_code(self) -> int:
        """1 when something stood against it, else 0."""
        return ExitCode.STOPPED if self.problems else ExitCode.DONE

    def lines(self) -> list[str]:
        """The report for people."""
        lines = []
        if self.built:
            lines.append(f"built      {self.built:,} rows from the lake; nothing was embedded")
        lines += self._check_lines(self.trial) if self.trial is not None else []
        if self.lacking_documents:
            lines.append(f"lacks      {self.lacking_documents:,} documents that {self.before} has")
        lines += [f"dropped    {name}; the lake still has its rows" for name in self.dropped]
        if self.moved:
            before = f", before {self.before}" if self.before else ""
            lines.append(f"moved      searches of {self.alias} go to {self.now}{before}")
        elif self.now:
            lines.append(f"           searches of {self.alias} go to {self.now}")
        if self.earlier:
            lines.append(f"kept       {', '.join(self.earlier)}: `millrace switch --back` goes back, --drop-old drops")
        if self.moved and self.now != self.collection:
            lines.append(f"           `ingest` still writes to {self.collection}: set milvus.collection to {self.now}")
        return lines + [f"note       {note}" for note in self.notes]

    def _check_lines(self, trial: SwitchChecks) -> list[str]:
        lines = [
            f"tried      {trial.rows - trial.missing:,} of {trial.rows:,} rows are there; "
            f"{trial.found:,} of {trial.sampled:,} sampled ones are found by their own vector"
        ]
        if trial.alike is not None:
            lines.append(
                f"compared   {trial.asked_both:,} questions to both: {trial.alike:.0%} of the first {TOP_K} "
                "passages are the same"
            )
        return lines


def switch(
    settings: Settings, *, source: str, sample: int, move: bool, quiet: bool, checkpoint: Checkpoint = no_checkpoint
) -> SwitchResult:
    """Try the collection of the settings, and have `milvus.alias` stand for it; without `move`, only try it.

    Where the lake knows nothing of it, it is made first, with the rows of the collection `source`, "" for the one that
    the alias stands for. `checkpoint` hears of each step.

    Raises:
        ConfigurationError: There is no alias, or nothing to make the collection from, or not with this model.
        CollectionError, LakeError: Milvus or the lake cannot be used.
        LeaseHeld: Another process writes to the lake, to the collection, or moves aliases.
    """
    alias, name = required_alias(settings), settings.milvus.collection
    began = time.monotonic()
    with milvus.open_aliases(settings) as aliases:
        before = aliases.target(alias)
        settings = with_remembered(settings, of=name if _has_rows(settings) else source or before)
        model = components.load_model(settings)
        report = SwitchResult(alias, redacted_uri(settings), name, before=before, now=before)
        if not _has_rows(settings):
            built = _build(settings, model, source or before, quiet=quiet, checkpoint=checkpoint)
            report.built, report.notes = built.brought, built.notes
        with Lake.open(components.lake_path(settings), name) as lake, milvus.lease_collection(settings):
            with recorded(lake, settings, "switch", new_run_id()) as outcome:
                _try(report, settings, model, aliases, sample=sample)
                outcome.exit = report.exit_code
            checkpoint("switch: tried")
            # What was tried is on record before the alias is moved: from then on searches are made by that.
            if move and not report.problems:
                with lake.switches.acquire_lease():
                    report.before = aliases.target(alias)
                    _move(report, aliases, lake, name, checkpoint)
            report.earlier = _earlier_but(lake.switches.earlier(_key(report)), report.now)
    report.seconds = round(time.monotonic() - began, 3)
    return report


def switch_back(settings: Settings, *, checkpoint: Checkpoint = no_checkpoint) -> SwitchResult:
    """Have `milvus.alias` stand for what it stood for before; also while a run writes to the lake.

    Raises:
        ConfigurationError: It is not known what that was.
        CollectionMissing: That collection is not there any more.
    """
    alias = required_alias(settings)
    lake = components.existing_lake(settings)
    with lake.switches.acquire_lease(), milvus.open_aliases(settings) as aliases:
        before = aliases.target(alias)
        report = _report_of(settings, before)
        earlier = _earlier_but(lake.switches.earlier(_key(report)), before)
        if not earlier:
            now = f" {before}" if before else ""
            raise ConfigurationError(
                f"this lake knows of no collection that {alias} stood for before{now}; name one with "
                "--set milvus.collection=..., and run `millrace switch`"
            )
        _move(report, aliases, lake, earlier[-1], checkpoint)
        report.earlier = _earlier_but(lake.switches.earlier(_key(report)), report.now)
    return report


def drop_old(settings: Settings) -> SwitchResult:
    """Drop the collections that `milvus.alias` stood for before; their rows stay in the lake.

    Raises:
        ConfigurationError: The alias stands for nothing, or `milvus.collection` is one of them, or another alias stands
            for one.
        LeaseHeld: Another process writes to one, or moves aliases.
    """
    alias = required_alias(settings)
    lake = components.existing_lake(settings)
    with lake.switches.acquire_lease(), milvus.open_aliases(settings) as aliases:
        now = aliases.target(alias)
        if not now:
            raise ConfigurationError(f"{alias} stands for no collection yet; nothing was dropped")
        report = _report_of(settings, now)
        old = _earlier_but(lake.switches.earlier(_key(report)), now)
        if settings.milvus.collection in old:
            raise ConfigurationError(
                f"milvus.collection is {settings.milvus.collection}, which searches do not use any more and which "
                f"would be dropped; set it to {now} first. Nothing was dropped"
            )
        for name in old:
            others = aliases.names(name) if aliases.exists(name) else []
            if others:
                raise ConfigurationError(
                    f"the alias {', '.join(others)} stands for {name}, so it is not dropped; move or drop the alias "
                    "first"
                )
            dropped = settings.with_overrides([f"milvus.collection={name}"])
            refuse_to_drop(dropped, lake)
            with milvus.lease_collection(dropped):
                milvus.drop_collection(dropped)
            report.dropped.append(name)
        lake.switches.save_earlier(_key(report), [])
    return report


def _report_of(settings: Settings, now: str) -> SwitchResult:
    milvus = settings.milvus
    return SwitchResult(milvus.alias, redacted_uri(settings), milvus.collection, before=now, now=now)


def _has_rows(settings: Settings) -> bool:
    """Whether the lake knows rows of the collection of the settings."""
    lake = Lake.open(components.lake_path(settings), settings.milvus.collection, read_only=True)
    return lake.collection_dir.is_dir() and lake.manifest.has_rows()


def _build(
    settings: Settings, model: components.Model, source: str, *, quiet: bool, checkpoint: Checkpoint
) -> RebuildResult:
    """Make the collection from the rows of `source`, and let the lake know it as one of its own."""
    name = settings.milvus.collection
    if source in {"", name}:
        raise ConfigurationError(
            f"the lake {settings.lake.path} knows nothing of the collection {name}: run `millrace ingest` with these "
            "settings first, or say with --from which collection's rows it gets"
        )
    path = components.lake_path(settings)
    if not isinstance(path, Path):
        raise ConfigurationError(
            f"the lake {path} is in a bucket, where rows cannot be taken over from {source}: run `millrace ingest`"
            " with these settings first; it embeds nothing that the lake has"
        )
    empty = Lake.open(path, name, read_only=True).collection_dir
    if empty.is_dir():
        raise ConfigurationError(
            f"the lake knows {name}, but no row of it, as after an ingest that failed: run `millrace ingest` with "
            f"these settings first, or delete {empty}, or name another milvus.collection"
        )
    origin = settings.with_overrides([f"milvus.collection={source}"])
    spaces = set(components.existing_lake(origin).manifest.spaces())
    if spaces - {model.space.name}:
        raise ConfigurationError(
            f"the rows of {source} are in the embedding space {', '.join(sorted(spaces))}, and the settings name "
            f"{model.space.name}: for another model run `millrace ingest` with these settings first, which makes "
            f"{name} beside {source} and embeds what is not in the lake yet; then `millrace switch`"
        )
    report = rebuild(origin, into=name, drop=False, quiet=quiet, copy_collection=True, checkpoint=checkpoint)
    if report.error:
        raise RunStopped(f"{report.error}. Nothing was moved")
    if report.missing:
        raise RunStopped(
            f"{len(report.missing):,} of {report.rows:,} rows of {source} could not be brought into {name}. The first "
            f"is of {report.missing[0]['source']}: {report.missing[0]['why']}. What the lake lacks is brought back by "
            f"`millrace verify --repair` for {source}. Nothing was moved"
        )
    return report


def _try(report: SwitchResult, settings: Settings, model: components.Model, aliases: Aliases, *, sample: int) -> None:
    """Count the rows of the collection, look for some of them, and ask it and the present one the same."""
    name, path = settings.milvus.collection, components.lake_path(settings)
    other = "" if report.before == name else report.before
    trial = report.trial = SwitchChecks()
    lake = Lake.open(path, name, read_only=True)
    manifest = lake.manifest.read()
    other_lake = Lake.open(path, other, read_only=True) if other else lake
    others, other_spaces = other_lake.manifest.read(), other_lake.manifest.spaces()
    drawn = draw_sample(lake, manifest, size=sample, seed=0).rows
    with (
        VectorStores(lake, lake.manifest.spaces() + other_spaces, model.space) as stores,
        open_indexed(settings, model) as collection,
    ):
        count_rows(trial, collection, lake)
        ask = partial(collection.search, top_k=TOP_K)
        find_rows(trial, ask, drawn, stores)
        if other and other_spaces and aliases.exists(other):
            ask_other = partial(aliases.search, other, aliases.shape(other), top_k=TOP_K)
            compare_answers(trial, ask, ask_other, drawn, stores, other_space=other_spaces.most_common(1)[0][0])
    report.problems = trial.problems()
    _note_missing_documents(report, settings, mine=manifest, theirs=others)


def _note_missing_documents(report: SwitchResult, settings: Settings, *, mine: pa.Table, theirs: pa.Table) -> None:
    """Documents that searches find now and would not any more; more than a set share of them is a problem."""
    mine, theirs = (table.filter(pc.greater(table["chunks"], 0))["source"] for table in (mine, theirs))
    report.lacking_documents = pc.sum(pc.invert(pc.is_in(theirs, value_set=mine))).as_py() or 0
    share = settings.sources.max_removed_share
    if report.lacking_documents > share * len(theirs):
        report.problems.append(
            f"{report.lacking_documents:,} of {len(theirs):,} documents of {report.before} are not in "
            f"{report.collection}, more than {share:.0%} (sources.max_removed_share); ingest them there first, or "
            "allow it once with --set sources.max_removed_share=1"
        )


def _move(report: SwitchResult, aliases: Aliases, lake: Lake, name: str, checkpoint: Checkpoint) -> None:
    """Move the alias, having noted first what it stands for: whatever is cut short, the way back is known."""
    if not aliases.exists(name):
        raise CollectionMissing(
            f"there is no collection {name} any more at {report.uri}; `millrace rebuild --set "
            f"milvus.collection={name}` makes it again from the lake"
        )
    key = _key(report)
    if report.before and report.before != name:
        earlier = [one for one in lake.switches.earlier(key) if one != report.before]
        lake.switches.save_earlier(key, [*earlier, report.before])
        checkpoint("switch: noted")
    aliases.point(report.alias, name)
    checkpoint("switch: moved")
    lake.switches.save_now(key, name)
    report.now = name
    report.moved = report.before != name


def _earlier_but(earlier: list[str], now: str) -> list[str]:
    """The collections of `earlier` that the alias does not stand for now."""
    return [name for name in earlier if name != now]


def _key(report: SwitchResult) -> str:
    """What the lake calls the alias by."""
    return alias_key(report.uri, report.alias)
