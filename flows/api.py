"""What `import millrace` offers: the commands as functions, for programs.

Each takes settings, returns a typed result, prints nothing, and raises from the one tree of `millrace.tasks.errors`.
Settings are given as `settings`, or as `config`, a TOML file, with the environment; `overrides` like
"milvus.collection=handbook" apply to either.

Called where an event loop runs, a function does its work in a thread and holds the loop up while it lasts; give it to
`asyncio.to_thread` there, or use `asearch`.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from millrace.configs.settings import FailOn, Settings, choose_settings
from millrace.flows.commands.doctor.diagnosis import Diagnosis
from millrace.flows.commands.evaluate.report import EvaluationResult
from millrace.flows.commands.plan import Plan
from millrace.flows.commands.prune import PruneResult
from millrace.flows.commands.rebuild import RebuildResult
from millrace.flows.commands.verify.report import VerifyResult
from millrace.flows.monitoring.run_summary import RunSummary
from millrace.tasks.errors import ConfigurationError, RunStopped

T = TypeVar("T")

Sources = Iterable[Path | str]
"""Files and folders."""


def ingest(
    sources: Sources,
    *,
    settings: Settings | None = None,
    config: Path | str | None = None,
    overrides: Iterable[str] = (),
    max_cny: float | None = None,
    change_embedding: bool = False,
    reread: str = "",
    fail_on: FailOn | None = None,
) -> RunSummary:
    """Bring whatever changed in `sources` since the last run into the collection; what the run did and cost.

    Rejected items do not stop it: `rejects` of the summary counts them, `rejects_new` those that are new in this run.

    Args:
        sources: Files and folders.
        settings: Settings that have been loaded.
        config: In their place, a file of settings, as of `--config`.
        overrides: Settings like "milvus.collection=handbook", as of `--set`.
        max_cny: Stop before the run costs more than this; `budget.max_cny`.
        change_embedding: Embed all documents of the collection anew where the settings ask for another embedding or
            chunking than it was made with, which is refused otherwise; `embedding.allow_change`.
        reread: Glob of files whose bytes are compared, whatever their size and times say; "*" for all.
        fail_on: For which rejects `exit_code` of the summary is 3: "any", "new" or "none"; `rejects.fail_on`.

    Raises:
        ConfigurationError: The settings cannot be right; nothing was started.
        BudgetReached, RunStopped: The run ended early. What was finished until then stays, `summary` of the error tells
            what that is, and the same call goes on from there.
        KeyboardInterrupt: The run was interrupted, and has come to an orderly end.
    """
    from millrace.flows.commands.ingest.run import ingest_here

    given = [*overrides, *([f"budget.max_cny={max_cny}"] if max_cny is not None else [])]
    given += ["embedding.allow_change=true"] if change_embedding else []
    given += [f"rejects.fail_on={fail_on}"] if fail_on is not None else []
    chosen = choose_settings(settings, config, given)
    paths = _paths(sources)
    if not paths:
        raise ConfigurationError("there is no source; name a file or a folder")
    summary = _without_loop(lambda: ingest_here(chosen, paths, quiet=True, reread=reread))
    if summary.outcome == "interrupted":
        raise KeyboardInterrupt(summary.error)
    if summary.error:
        raise summary.as_error()
    return summary


def plan(
    sources: Sources,
    *,
    settings: Settings | None = None,
    config: Path | str | None = None,
    overrides: Iterable[str] = (),
) -> Plan:
    """What `ingest` would do and cost, without one network call or a write; the arguments are those of `ingest`.

    Raises:
        ConfigurationError: The settings cannot be right.
        RunStopped: A source is missing or unreadable, or the lake is damaged.
    """
    from millrace.flows.commands.plan import make_plan

    chosen, paths = choose_settings(settings, config, overrides), _paths(sources)
    return _without_loop(lambda: make_plan(chosen, paths))


def verify(
    sources: Sources = (),
    *,
    settings: Settings | None = None,
    config: Path | str | None = None,
    overrides: Iterable[str] = (),
    repair: bool = False,
    reread: str = "",
) -> VerifyResult:
    """Sources, lake and collection compared, row by row: `agree` of the result, and every finding.

    Without `sources`, documents are compared with the files that they were read from. With `repair`, what does not
    agree is healed from the lake first, what the lake lacks is embedded, and the findings are those that are left.
    `reread` is a glob of files whose bytes are compared, whatever their size and times say; "*" for all.

    Raises:
        ConfigurationError: There is no such lake, or the settings are not those of its documents.
        BudgetReached, RunStopped: A repair could not go on; what was finished until then stays.
        CollectionError: Milvus cannot be reached.
    """
    from millrace.flows.commands.verify.repair import repair as repair_and_compare
    from millrace.flows.commands.verify.verify import verify as compare

    chosen, paths = choose_settings(settings, config, overrides), _paths(sources)
    look = repair_and_compare if repair else compare
    return _without_loop(lambda: look(chosen, paths, as_json=True, reread=reread))


def rebuild(
    *,
    settings: Settings | None = None,
    config: Path | str | None = None,
    overrides: Iterable[str] = (),
    into: str = "",
    drop: bool = False,
) -> RebuildResult:
    """The collection made again from the lake, without one request to the provider.

    Args:
        settings: Settings that have been loaded.
        config: In their place, a file of settings, as of `--config`.
        overrides: Settings like "milvus.collection=handbook", as of `--set`.
        into: Another collection: a new one, or an empty one.
        drop: Drop the collection first; searches find nothing until it is back.

    Raises:
        ConfigurationError: The lake knows no row, or the arguments do not go together.
        LakeError: The lake is damaged, or lacks rows of a collection that was to be dropped.
        CollectionError: Milvus cannot be reached, or `into` holds rows that are not of this lake.
        RunStopped: The rows are in, and others could not be deleted.
    """
    from millrace.flows.commands.rebuild import rebuild as rebuild_collection

    chosen = choose_settings(settings, config, overrides)
    result = _without_loop(lambda: rebuild_collection(chosen, into=into, drop=drop, quiet=True))
    if result.error:
        raise RunStopped(result.error)
    return result


def prune(
    *,
    settings: Settings | None = None,
    config: Path | str | None = None,
    overrides: Iterable[str] = (),
    older_than_days: float = 90.0,
    keep: int = 100,
    vectors: bool = False,
    yes: bool = False,
) -> PruneResult:
    """What is kept of old runs, removed from the lake; without `yes` only what that would be.

    Args:
        settings: Settings that have been loaded.
        config: In their place, a file of settings, as of `--config`.
        overrides: Settings like "milvus.collection=handbook", as of `--set`.
        older_than_days: Runs and bills that are older go.
        keep: The newest runs of a collection stay, so many of them.
        vectors: Also remove vectors that no chunk of any collection uses.
        yes: Remove it.

    Raises:
        ConfigurationError: There is no such lake.
        LakeError: It cannot be read or written, or another process writes to it (LeaseHeld).
    """
    from millrace.flows.commands.prune import prune as prune_lake

    age = timedelta(days=older_than_days)
    return prune_lake(choose_settings(settings, config, overrides), older_than=age, keep=keep, vectors=vectors, yes=yes)


def evaluate(
    *,
    settings: Settings | None = None,
    config: Path | str | None = None,
    overrides: Iterable[str] = (),
    sample: int | None = None,
    seed: int | None = None,
    questions: Path | str | None = None,
    depths: Sequence[int] = (1, 5, 10, 20),
    rerank: bool = True,
) -> EvaluationResult:
    """Whether the index finds chunks by a sentence of their own text, or what the questions of a file expect.

    Args:
        settings: Settings that have been loaded.
        config: In their place, a file of settings, as of `--config`.
        overrides: Settings like "milvus.collection=handbook", as of `--set`.
        sample: So many chunks are asked for; None is 200.
        seed: Draws another sample.
        questions: Ask these instead: a file of JSON Lines.
        depths: Recall is measured among so many passages, for each of these numbers.
        rerank: False measures retrieval alone.

    Raises:
        ConfigurationError: There is no such lake, the file has a bad line, or its queries and the index do not fit.
        BudgetReached: It would cost more than `budget.max_cny`.
        RunStopped: Milvus, the provider or the reranker does not answer; or there is nothing to ask by.
    """
    from millrace.flows.commands.evaluate import evaluate as evaluating

    chosen = choose_settings(settings, config, overrides)
    options = evaluating.options_of(
        sample=sample,
        seed=seed,
        questions=Path(questions) if questions is not None else None,
        ks=",".join(map(str, depths)),
        rerank=rerank,
        min_self_hit=None,
    )
    return _without_loop(lambda: evaluating.evaluate(chosen, options, say=lambda _: None, quiet=True))


def doctor(
    *,
    settings: Settings | None = None,
    config: Path | str | None = None,
    overrides: Iterable[str] = (),
    offline: bool = False,
    skip: Iterable[str] = (),
) -> Diagnosis:
    """What stands in the way of a run: a finding for each check, with the command that mends it; changes nothing.

    Settings that cannot be read are a finding too. One word is embedded, and its price told.

    Args:
        settings: Settings that have been loaded.
        config: In their place, a file of settings, as of `--config`.
        overrides: Settings like "milvus.collection=handbook", as of `--set`.
        offline: Ask nothing outside this machine, and open no Milvus.
        skip: Names of checks to leave out.

    Raises:
        ConfigurationError: There is no check of such a name, or both `settings` and `config` are given.
    """
    from millrace.flows.commands.doctor.diagnosis import diagnose

    file, left_out = Path(config) if config is not None else None, frozenset(skip)
    return _without_loop(lambda: diagnose(settings, config=file, overrides=overrides, offline=offline, skip=left_out))


def _paths(sources: Sources) -> list[Path]:
    if isinstance(sources, str | Path):  # a string is an iterable too, of letters
        sources = [sources]
    return [Path(source).absolute() for source in sources]


def _without_loop(work: Callable[[], T]) -> T:
    """The result of `work`, which runs a loop of its own: in a thread where this one has a loop that runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="millrace") as thread:
        return thread.submit(work).result()
