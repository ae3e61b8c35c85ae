"""What every command of `millrace` shares: its options, and how results and complaints reach the terminal."""

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from millrace.flows.monitoring.logs import LOG_FORMAT_VARIABLE, Format, log_as, structured
from millrace.flows.monitoring.result import Result
from millrace.tasks.control_characters import harmless
from millrace.tasks.errors import ExitCode
from millrace.tasks.secrets import mask

if TYPE_CHECKING:
    from millrace.configs.settings import Settings

_log = logging.getLogger(__name__)

HERE = "millrace.toml"
"""The file of settings that a command takes from the folder it is typed in, and that `millrace init` writes there."""

_UNSEEN = re.compile(r"[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters that JSON lets stand as they are."""

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def _set_log_format(_context: click.Context, _option: click.Parameter, value: str) -> None:
    form: Format = "json" if value == "json" else "text"
    os.environ[LOG_FORMAT_VARIABLE] = form  # for runs that are processes of their own
    log_as(form)


log_format = click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    envvar=LOG_FORMAT_VARIABLE,
    default="text",
    is_eager=True,
    expose_value=False,
    callback=_set_log_format,
    help="Standard error for people, or as one JSON object a line.",
)


def common(command: CommandT) -> CommandT:
    """A command with the options that every command takes."""
    for option in (
        log_format,
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."),
        click.option(
            "--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="Set one setting; repeatable."
        ),
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help=f"Settings, in TOML; else ./{HERE}, if there.",
        ),
    ):
        command = option(command)
    return command


def claiming(command: CommandT) -> CommandT:
    """A command that writes rows, with the options that say whose the collection is; each stands for `milvus.claim`."""
    for option in (
        click.option("--take-over", "claim", flag_value="take_over", help="The collection is this lake's from now on."),
        click.option("--share", "claim", flag_value="share", help="Other lakes fill the collection too."),
    ):
        command = option(command)
    return command


def with_claim(overrides: tuple[str, ...], claim: str | None) -> tuple[str, ...]:
    """The overrides, and what --share or --take-over stands for."""
    return overrides if claim is None else (*overrides, f"milvus.claim={claim}")


def due(command: CommandT) -> CommandT:
    """A command that may go by Batch, with the options that say when to be done."""
    for option in (
        click.option("--within", metavar="TIME", help="As --by, counted from now: 90m, 6h or 2d."),
        click.option("--by", metavar="TIME", help="Be done by 08:00, or a date and time, with Batch where it can."),
    ):
        command = option(command)
    return command


def with_deadline(overrides: tuple[str, ...], by: str | None, within: str | None) -> tuple[str, ...]:
    """The overrides, and what --by or --within stands for."""
    if by is not None and within is not None:
        raise click.UsageError("--by and --within both say when to be done; give one of them")
    return overrides if by is within is None else (*overrides, f"embedding.deadline={by or within}")


sources = click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(path_type=Path))


def _glob_no_source(context: click.Context, parameter: click.Parameter, value: str) -> str:
    del context, parameter
    if value and Path(value).exists():
        raise click.BadParameter(f"{value} is a file or folder, not a glob; write --reread='*' for all files")
    return value


reread = click.option(
    "--reread",
    default="",
    metavar="GLOB",
    callback=_glob_no_source,
    help="Compare the bytes of files that match, whatever their size and times say; '*' for all.",
)


def settings_file(config: Path | None) -> Path | None:
    """The file of --config, or else the `millrace.toml` of the folder that the command is typed in, which is said."""
    here = Path(HERE)
    if config is not None or not here.exists():
        return config
    context = click.get_current_context(silent=True)
    say(f"settings from ./{HERE}", as_json=bool(context and context.params.get("as_json")))
    return here


def settings_of(config: Path | None, overrides: tuple[str, ...], *, run_of: str = "") -> "Settings":
    """The settings of a command line. Raises ConfigurationError as `load_settings`.

    `run_of`: the command whose run wrong settings are recorded or told as, "" for one that leaves no trace.
    """
    from millrace.configs.settings import load_settings
    from millrace.tasks.stages.memory import configure_allocator

    configure_allocator()  # here, because it must come before anything else that a command imports
    config = settings_file(config)
    if run_of in {"verify", "repair"}:
        from millrace.flows.commands.verify.ending import recorded_settings

        return recorded_settings(config, overrides, run_of)
    if run_of:
        from millrace.flows.commands.ingest.endings import traced_settings

        return traced_settings(config, overrides, run_of)
    return load_settings(config, overrides)


def finish(
    result: Result, *, as_json: bool, show: Callable[[], None] | None = None, closing: Sequence[str] = ()
) -> NoReturn:
    """Print the result, say what stopped the command, and exit with its code: the end of every command.

    `show` prints the result for people in place of its lines. The `closing` lines are for people alone.
    """
    if as_json:
        print_json(result.as_json(), indent=2)
    elif show is not None:
        show()
    else:
        print_lines(result.lines())
    if not structured():
        for line in closing:
            say(line, as_json=as_json)
    if result.error:
        complain(result.error)
    sys.exit(result.exit_code)


def print_lines(lines: Iterable[str]) -> None:
    """Write lines to standard output; whatever is in them, none can command the terminal."""
    for line in lines:
        click.echo(harmless(mask(line)))


def print_json(values: dict[str, object], *, indent: int | None = None) -> None:
    """Write one JSON object to standard output; control characters stand in it as escapes."""
    text = json.dumps(values, ensure_ascii=False, indent=indent, default=str)
    click.echo(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", mask(text)))


def fail(message: str, code: ExitCode, *, as_json: bool, hint: str = "") -> NoReturn:
    """Say why and exit with `code`; with `as_json` also as an object on standard output."""
    complain(f"{message}{hint}")
    if as_json:
        print_json({"error": message, "exit_code": code})
    sys.exit(code)


def usage_of(error: click.UsageError) -> str:
    """How the command that was used wrongly is used."""
    return f"\n{error.ctx.get_usage()}\nTry: {error.ctx.command_path} --help" if error.ctx else ""


def complain(message: str) -> None:
    """Say on standard error what went wrong."""
    if structured():
        _log.error("%s", message)
    else:
        _echo_error(f"millrace: {message}")


def say(line: str, *, as_json: bool) -> None:
    """Say something on standard error that is no result; with `as_json` only to programs that asked for logs."""
    if structured():
        _log.info("%s", line)
    elif not as_json:
        _echo_error(line)


def _echo_error(text: str) -> None:
    """Write lines to standard error, each of them harmless."""
    click.echo("\n".join(map(harmless, mask(text).split("\n"))), err=True)
