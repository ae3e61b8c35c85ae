"""The command `chunks`: how one file is read and cut."""

from pathlib import Path

import click

from millrace.flows.cli.console import common, finish, settings_of


@click.command(short_help="Show how a file is read and cut: no lake, no network.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a page that shows them beside the pages of a PDF.",
)
@common
def chunks(file: Path, html: Path | None, config: Path | None, overrides: tuple[str, ...], *, as_json: bool) -> None:
    """Show what a run would cut FILE into: headings, pages, tokens, the text that is embedded, and what is refused.

    It is read as a run reads it, under the same bounds; nothing is kept, and nothing is sent.

    \b
      millrace chunks docs/manual.pdf
      millrace chunks docs/manual.pdf --html chunks.html
    """
    from millrace.flows.commands.chunks.cut import cut_file

    settings = settings_of(config, overrides)
    cut = cut_file(settings, file.absolute())
    if html is not None:
        from millrace.flows.commands.chunks.page import page_of

        html.write_text(page_of(settings, cut), encoding="utf-8")
    finish(cut, as_json=as_json)
