"""The command `millrace`: arguments in, an exit code out.

Results go to standard output, progress and logs to standard error.

Whatever a command needs is imported when it runs, so that `--help` answers at once.
"""

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import click

from millrace.flows.cli import chunks, collection, jobs, search, setup
from millrace.flows.cli.closing import closing_lines
from millrace.flows.cli.console import (
    HERE,
    claiming,
    common,
    due,
    fail,
    finish,
    log_format,
    reread,
    say,
    settings_file,
    settings_of,
    sources,
    usage_of,
    with_claim,
    with_deadline,
)
from millrace.flows.cli.environment import set_variables
from millrace.flows.monitoring.logs import structured
from millrace.tasks.errors import ConfigurationError, ExitCode, MillraceError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="millrace", message="%(version)s")
def millrace() -> None:
    """Turn a folder of documents into a searchable Milvus collection.

    \b
      millrace ingest docs/                       read, chunk, embed and upsert whatever changed
      millrace search "how do I open the sluice"  the passages that answer, with file and page

    Settings are taken from --set, then from the environment (MILLRACE_SECTION__KEY), then from the file of --config,
    or else from ./millrace.toml, which `millrace init` writes.
    """


@millrace.command(short_help="Bring whatever changed in the sources into the collection.")
@sources
@click.option("--max-cny", type=float, metavar="YUAN", help="Stop before the run costs more than this.")
@click.option(
    "--change-embedding", is_flag=True, help="Embed all documents anew where [embedding] or [chunking] are others."
)
@click.option(
    "--fail-on",
    type=click.Choice(["any", "new", "none"]),
    help="Exit with 3 for any outstanding reject, the default, for those that are new in this run, or for none.",
)
@due
@click.option(
    "--detach", is_flag=True, help="End once the Batch jobs are submitted; the next run takes in what they bring."
)
@reread
@claiming
@common
def ingest(
    sources: tuple[Path, ...],
    max_cny: float | None,
    claim: str | None,
    config: Path | None,
    overrides: tuple[str, ...],
    *,
    change_embedding: bool,
    fail_on: str | None,
    by: str | None,
    within: str | None,
    detach: bool,
    reread: str,
    as_json: bool,
) -> None:
    """Bring whatever changed in SOURCE... since the last run into the collection.

    Embedding and chunking that are not set are those that the collection was made with. Others are refused, because
    they embed every document again, unless with --change-embedding.

    \b
      millrace ingest docs/
      millrace ingest docs/ notes.jsonl --set milvus.collection=handbook
      millrace ingest docs/ --set embedding.provider=dashscope --max-cny 5
      millrace ingest docs/ --by 08:00
    """
    if detach:
        overrides = (*overrides, "embedding.detach=true")
    if max_cny is not None:
        overrides = (*overrides, f"budget.max_cny={max_cny}")
    if change_embedding:
        overrides = (*overrides, "embedding.allow_change=true")
    if fail_on is not None:
        overrides = (*overrides, f"rejects.fail_on={fail_on}")
    settings = settings_of(config, with_deadline(with_claim(overrides, claim), by, within), run_of="ingest")
    if os.environ.get("PREFECT_API_URL"):
        from millrace.flows.ingest import ingest_under_prefect as run_ingest
    else:
        from millrace.flows.commands.ingest.run import ingest_here as run_ingest

        if not structured():
            say(
                "runs can be watched in the Prefect UI: start `prefect server start` and set PREFECT_API_URL",
                as_json=as_json,
            )
    paths = [source.absolute() for source in sources]
    summary = run_ingest(settings, paths, quiet=as_json, reread=reread)
    closing = closing_lines(summary, settings.milvus.uri, config=config, overrides=overrides)
    finish(summary, as_json=as_json, closing=closing)


@millrace.command()
@sources
@click.option("--rejects", "name_rejects", is_flag=True, help="Name each item that would be rejected, and why.")
@due
@common
def plan(
    sources: tuple[Path, ...],
    config: Path | None,
    overrides: tuple[str, ...],
    *,
    name_rejects: bool,
    by: str | None,
    within: str | None,
    as_json: bool,
) -> None:
    """Say what `ingest` would do and cost, without one network call.

    \b
      millrace plan docs/ --set embedding.provider=dashscope
      millrace plan docs/ --rejects
      millrace plan docs/ --by 08:00
    """
    from millrace.flows.commands.plan import make_plan

    paths = [source.absolute() for source in sources]
    settings = settings_of(config, with_deadline(overrides, by, within))
    finish(make_plan(settings, paths, name_rejects=name_rejects), as_json=as_json)


@millrace.command(short_help="Play a run in virtual time: its end, its cost, and what it waits for.")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...", type=click.Path(path_type=Path))
@click.option("--chunks", type=click.IntRange(min=1), metavar="N", help="So many chunks in place of sources.")
@click.option(
    "--tokens", type=click.IntRange(min=1), default=400, show_default=True, metavar="N", help="Of each of --chunks."
)
@due
@common
def rehearse(
    sources: tuple[Path, ...],
    *,
    chunks: int | None,
    tokens: int,
    by: str | None,
    within: str | None,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Play the run over SOURCE... in virtual time, against the limits of the catalogue; nothing is sent or written.

    The real dispatcher, pacing and Batch road; only the provider is played, as it answered in earlier runs.

    \b
      millrace rehearse docs/ --by 08:00
      millrace rehearse --chunks 1000000 --set embedding.provider=dashscope
    """
    from millrace.flows.commands.rehearse import rehearse as play

    settings = settings_of(config, with_deadline(overrides, by, within))
    paths = [source.absolute() for source in sources]
    finish(play(settings, paths, chunks=chunks or 0, tokens_per_chunk=tokens), as_json=as_json)


@millrace.command(short_help="Index and verify on a schedule, with Prefect.")
@sources
@click.option("--cron", default="0 2 * * *", show_default=True, metavar="CRON", help="When to index; '' for never.")
@click.option(
    "--verify-cron", default="0 5 * * *", show_default=True, metavar="CRON", help="When to compare; '' for never."
)
@click.option("--timezone", metavar="ZONE", help="Of both, e.g. Asia/Shanghai.  [default: that of this machine]")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"Settings, in TOML, all of them read anew by each run; else ./{HERE}, if there.",
)
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Set one setting; repeatable.")
@log_format
def serve(
    sources: tuple[Path, ...],
    *,
    cron: str,
    verify_cron: str,
    timezone: str | None,
    config: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Index SOURCE... on a schedule, as deployments that the Prefect UI shows, until stopped.

    Needs a Prefect server: `prefect server start`, and PREFECT_API_URL set to its address. Ctrl-C or SIGTERM lets a run
    that is going end, keeping what was paid for, and waits for it.

    \b
      millrace serve /srv/docs --config handbook.toml
      millrace serve /srv/docs --cron "*/15 * * * *"
      millrace serve /srv/docs --cron "0 2 * * *" --timezone Asia/Shanghai
    """
    if not os.environ.get("PREFECT_API_URL"):
        raise ConfigurationError(
            "millrace serve needs a Prefect server: start one with `prefect server start`, and set PREFECT_API_URL to "
            "the address that it prints, ending in /api"
        )
    config = settings_file(config)
    settings = settings_of(config, overrides)
    for override in overrides:  # the runs are processes of their own, and inherit the environment
        key, _, value = override.partition("=")
        os.environ["MILLRACE_" + key.strip().upper().replace(".", "__")] = value
    from millrace.flows.serve import Schedule, serve_corpus, timezone_of_machine

    schedule = Schedule(cron, verify_cron, timezone or timezone_of_machine())
    serve_corpus(settings, [source.absolute() for source in sources], config=config, schedule=schedule)


@millrace.command(short_help="Write the page of a run: cost, delays, failures, advice.")
@click.argument("run", required=False, default="")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write it there.")
@click.option("--open", "open_it", is_flag=True, help="Open it in the browser.")
@common
def report(
    run: str, out: Path | None, config: Path | None, overrides: tuple[str, ...], *, open_it: bool, as_json: bool
) -> None:
    """Write the page of RUN, or of the last one: what it cost, what was slow, what failed, what to change.

    One HTML file that needs nothing else. Without --out it lies in the lake; its path is printed. RUN is an id as
    `millrace status --json` shows it, or enough of its beginning.

    \b
      millrace report --open
      millrace report 20261120T0210 --out monday.html
    """
    from millrace.flows.commands.report.write import show, write_report

    written = write_report(settings_of(config, overrides), run, out=out)
    if open_it:
        show(written)
    finish(written, as_json=as_json)


@millrace.command(short_help="Show the last runs, what the lake holds, and its rejects.")
@common
def status(config: Path | None, overrides: tuple[str, ...], *, as_json: bool) -> None:
    """Show the last runs, what the lake holds, and how many rejects there are.

    \b
      millrace status --set lake.path=lake
    """
    from millrace.flows.commands.status import lake_status

    finish(lake_status(settings_of(config, overrides)), as_json=as_json)


@millrace.group(invoke_without_command=True, short_help="List what was not taken, and why; try it again.")
@common
@click.pass_context
def rejects(context: click.Context, config: Path | None, overrides: tuple[str, ...], *, as_json: bool) -> None:
    """The items that were not taken, and why; `millrace rejects` alone lists them.

    \b
      millrace rejects list --json
    """
    if context.invoked_subcommand is None:
        context.invoke(list_rejects, config=config, overrides=overrides, as_json=as_json)


@rejects.command("list")
@click.option("--reason", default="", metavar="REASON", help="Only the rejects with this reason.")
@click.option("--full", is_flag=True, help="Print each item, with its own message.")
@common
def list_rejects(
    config: Path | None, overrides: tuple[str, ...], reason: str = "", *, full: bool = False, as_json: bool
) -> None:
    """List the rejected items by reason and file, with what to do.

    \b
      millrace rejects list
      millrace rejects list --reason page_scanned --json
    """
    from millrace.flows.commands.reject_list import outstanding_rejects

    finish(outstanding_rejects(settings_of(config, overrides), reason=reason, full=full), as_json=as_json)


@rejects.command("retry")
@click.option("--reason", default="", metavar="REASON", help="Only the rejects with this reason.")
@common
def retry(reason: str, config: Path | None, overrides: tuple[str, ...], *, as_json: bool) -> None:
    """Try the rejected items again; what now works leaves the list.

    Their files are read again, whole, under the present settings; no other file is looked at.

    \b
      millrace rejects retry
      millrace rejects retry --reason timeout --set documents.timeout_s=300
    """
    from millrace.flows.commands.rejects import retry_rejects

    settings = settings_of(config, overrides, run_of="retry")
    finish(retry_rejects(settings, reason=reason, quiet=as_json), as_json=as_json)


for command in (
    *(setup.init, setup.doctor),
    *(collection.verify, collection.rebuild, collection.switch, collection.prune),
    *(search.search, search.evaluate),
    *(chunks.chunks, jobs.jobs),
):
    millrace.add_command(command)


def main() -> NoReturn:
    """Run the command line; never a traceback for what millrace itself reports."""
    set_variables()
    as_json = "--json" in sys.argv[1:]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: an exit code and a word, whenever it comes
    try:
        millrace.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.UsageError as error:
        fail(error.format_message(), ExitCode.USAGE, as_json=as_json, hint=usage_of(error))
    except MillraceError as error:
        fail(str(error), error.exit_code, as_json=as_json)
    except (KeyboardInterrupt, click.Abort):
        fail("interrupted", ExitCode.INTERRUPTED, as_json=as_json)
    except BrokenPipeError:  # the reader of our output, `head` say, has gone
        sys.stdout = None
        sys.exit(ExitCode.STOPPED)
    sys.exit(ExitCode.DONE)


if __name__ == "__main__":
    main()
