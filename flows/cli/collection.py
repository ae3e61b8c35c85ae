"""The commands that hold the collection to the lake: compare it, make it again, put another in its place; and prune."""

from pathlib import Path

import click

from millrace.flows.cli.console import claiming, common, finish, reread, settings_of, with_claim


@click.command(short_help="Compare sources, lake and collection, and repair.")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...", type=click.Path(path_type=Path))
@click.option("--repair", is_flag=True, help="Heal what does not agree from the lake; buy only what the lake lacks.")
@reread
@claiming
@common
def verify(
    sources: tuple[Path, ...],
    claim: str | None,
    config: Path | None,
    overrides: tuple[str, ...],
    *,
    reread: str,
    repair: bool,
    as_json: bool,
) -> None:
    """Compare sources, lake and collection row by row; exit 0 only if all agree.

    Without SOURCE, documents are compared with the files that they were read from. What has changed in the sources is
    left to `ingest`, also by --repair.

    \b
      millrace verify docs/
      millrace verify docs/ --repair
      millrace verify --json
    """
    settings = settings_of(config, with_claim(overrides, claim), run_of="repair" if repair else "verify")
    paths = [source.absolute() for source in sources]
    if repair:
        from millrace.flows.commands.verify.repair import repair as look
    else:
        from millrace.flows.commands.verify.verify import verify as look
    finish(look(settings, paths, as_json=as_json, reread=reread), as_json=as_json)


@click.command()
@click.option("--into", default="", metavar="COLLECTION", help="Another collection: a new one, or an empty one.")
@click.option("--drop", is_flag=True, help="Drop the collection first; searches find nothing until it is back.")
@claiming
@common
def rebuild(
    into: str, claim: str | None, config: Path | None, overrides: tuple[str, ...], *, drop: bool, as_json: bool
) -> None:
    """Make the collection again from the lake, without one API call.

    Rows are upserted over those that are there, so that searches go on finding them, and what no document owns goes
    last. Another server is named by milvus.uri.

    \b
      millrace rebuild
      millrace rebuild --into documents_new
      millrace rebuild --set milvus.uri=http://milvus.example:19530
    """
    from millrace.flows.commands.rebuild import rebuild as rebuild_collection

    result = rebuild_collection(settings_of(config, with_claim(overrides, claim)), into=into, drop=drop, quiet=as_json)
    finish(result, as_json=as_json)


@click.command(short_help="Let searches use another collection, in one step, and back.")
@click.option("--from", "source", default="", metavar="COLLECTION", help="Whose rows a new collection gets.")
@click.option("--sample", type=click.IntRange(min=1), default=200, show_default=True, metavar="N", help="Rows to try.")
@click.option("--try", "try_only", is_flag=True, help="Make and try the collection; move nothing.")
@click.option("--back", is_flag=True, help="Let searches use what they used before.")
@click.option("--drop-old", is_flag=True, help="Drop the collections that searches used before.")
@common
def switch(
    *,
    source: str,
    sample: int,
    try_only: bool,
    back: bool,
    drop_old: bool,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Let searches of milvus.alias use milvus.collection, once that has been tried; in one step, and back.

    Another model or chunking: `ingest` into a new milvus.collection first. Other fields, index or metric: the new
    collection is made here, from the lake. Searches with milvus.alias follow by themselves, and old collections stay
    until --drop-old.

    \b
      millrace switch --set milvus.alias=live --set milvus.collection=documents_v2
      millrace switch --back
      millrace switch --drop-old
    """
    from millrace.flows.commands import switch as switching

    if back + drop_old + (try_only or bool(source)) > 1:
        raise click.UsageError("--back, --drop-old, and --try or --from each go alone")
    settings = settings_of(config, overrides)
    if back:
        result = switching.switch_back(settings)
    elif drop_old:
        result = switching.drop_old(settings)
    else:
        result = switching.switch(settings, source=source, sample=sample, move=not try_only, quiet=as_json)
    finish(result, as_json=as_json)


@click.command(short_help="Remove what is kept of old runs, and vectors that nothing uses.")
@click.option("--older-than", default="90d", show_default=True, metavar="AGE", help="A number and h, d or w.")
@click.option(
    "--keep", type=click.IntRange(min=0), default=100, show_default=True, metavar="N", help="Newest runs that stay."
)
@click.option("--vectors", is_flag=True, help="Also vectors that no chunk uses; they were paid for.")
@click.option("--parsed", is_flag=True, help="Also what slow and external parsers gave; it is parsed again.")
@click.option("--dry-run", is_flag=True, help="Say what would go, as without --yes.")
@click.option("--yes", is_flag=True, help="Remove it.")
@common
def prune(
    *,
    older_than: str,
    keep: int,
    vectors: bool,
    parsed: bool,
    dry_run: bool,
    yes: bool,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Remove records, timelines and pages of old runs, the details of old bills, and slips of dead workers.

    Of all collections of the lake. Sums of bills stay what they are, and nothing goes that a run, a search or a repair
    needs. Without --yes it only says what would go.

    \b
      millrace prune
      millrace prune --older-than 30d --keep 20 --yes
      millrace prune --vectors
    """
    from millrace.flows.commands.prune import age_of
    from millrace.flows.commands.prune import prune as prune_lake

    if dry_run and yes:
        raise click.UsageError("--dry-run and --yes contradict each other")
    settings = settings_of(config, overrides)
    result = prune_lake(settings, older_than=age_of(older_than), keep=keep, vectors=vectors, parsed=parsed, yes=yes)
    finish(result, as_json=as_json)
