"""The commands of Batch jobs: list, wait, cancel."""

from pathlib import Path

import click

from millrace.flows.cli.console import common, finish, settings_of


@click.group(invoke_without_command=True, short_help="Show the Batch jobs; wait for them, or give them up.")
@common
@click.pass_context
def jobs(context: click.Context, config: Path | None, overrides: tuple[str, ...], *, as_json: bool) -> None:
    """The Batch jobs of the lake; `millrace jobs` alone lists the open ones.

    \b
      millrace ingest docs/ --detach
      millrace jobs
    """
    if context.invoked_subcommand is None:
        context.invoke(list_jobs, config=config, overrides=overrides, as_json=as_json)


@jobs.command("list")
@click.option("--all", "all_of_them", is_flag=True, help="Also those that are at their end.")
@common
def list_jobs(config: Path | None, overrides: tuple[str, ...], *, all_of_them: bool = False, as_json: bool) -> None:
    """List the open Batch jobs: their texts, how far they are and since when, their price and deadline.

    Says what the lake knows; the provider is not asked.

    \b
      millrace jobs list --all
    """
    from millrace.flows.commands import jobs as commands

    finish(commands.list_jobs(settings_of(config, overrides), all_of_them=all_of_them), as_json=as_json)


@jobs.command("wait")
@common
def wait(config: Path | None, overrides: tuple[str, ...], *, as_json: bool) -> None:
    """Wait for the open Batch jobs, and take the vectors that they bring into the lake.

    The rows follow with the next `millrace ingest`, which then embeds nothing that came.

    \b
      millrace jobs wait
    """
    from millrace.flows.commands.jobs import wait_for_jobs

    finish(wait_for_jobs(settings_of(config, overrides)), as_json=as_json)


@jobs.command("cancel")
@click.argument("names", nargs=-1, metavar="[JOB]...")
@click.option("--forget", is_flag=True, help="Ask the provider nothing, and take nothing of them in.")
@common
def cancel(
    names: tuple[str, ...], config: Path | None, overrides: tuple[str, ...], *, forget: bool, as_json: bool
) -> None:
    """Give up the open Batch jobs, all or those named.

    What a job has finished is paid for; the next `ingest` or `jobs wait` takes it in. The other texts are embedded by
    the next run.

    \b
      millrace jobs cancel
      millrace jobs cancel --forget 20261201T080000.000Z-1a2b3c4d-00001
    """
    from millrace.flows.commands.jobs import cancel_jobs

    finish(cancel_jobs(settings_of(config, overrides), names, forget=forget), as_json=as_json)
