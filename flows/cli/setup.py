"""The commands of the first hour: `init` writes a file of settings, `doctor` says what stands in the way."""

from pathlib import Path

import click

from millrace.flows.cli.console import HERE, common, finish, log_format, settings_file


@click.command(short_help=f"Write a commented {HERE} for a provider; asks nothing.")
@click.option(
    "--provider", metavar="NAME", default="local", show_default=True, help="local, dashscope, iflytek or openai."
)
@click.option("--model", metavar="NAME", default="", help="The provider's model; else its first.")
@click.option("--base-url", metavar="URL", default="", help="Root of the API, ending in /v1; else the model's own.")
@click.option("--dimensions", metavar="N", type=int, help="Numbers of a vector; else the model's own.")
@click.option("--milvus", metavar="URI", default="", help="http://host:19530, or a path ending in .db for Milvus Lite.")
@click.option("--lake", metavar="PATH", default="", help="Folder of the Parquet files, or s3://bucket/prefix.")
@click.option("--collection", metavar="NAME", default="", help="The collection in Milvus.")
@click.option("--force", is_flag=True, help="Replace the file that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
@log_format
def init(
    *,
    provider: str,
    model: str,
    base_url: str,
    dimensions: int | None,
    milvus: str,
    lake: str,
    collection: str,
    force: bool,
    as_json: bool,
) -> None:
    """Write a commented millrace.toml into this folder, where every command finds it; asks nothing.

    \b
      millrace init --provider dashscope --milvus http://127.0.0.1:19530
      millrace init --provider openai --base-url http://127.0.0.1:8080/v1 --model bge-m3 --lake /srv/lake
    """
    from millrace.flows.commands.init import write_settings

    named = {
        "embedding.provider": provider,
        "embedding.model": model,
        "embedding.base_url": base_url,
        "embedding.dimensions": str(dimensions or ""),
        "milvus.uri": milvus,
        "lake.path": lake,
        "milvus.collection": collection,
    }
    overrides = [f"{key}={value}" for key, value in named.items() if value]
    finish(write_settings(Path(HERE), overrides, force=force), as_json=as_json)


@click.command(short_help="Say what stands in the way of a run, and how to mend it.")
@click.option("--offline", is_flag=True, help="Ask nothing outside this machine, and open no Milvus.")
@click.option("--skip", multiple=True, metavar="CHECK", help="Leave out a check; repeatable.")
@common
def doctor(
    *, offline: bool, skip: tuple[str, ...], config: Path | None, overrides: tuple[str, ...], as_json: bool
) -> None:
    """Look at everything that a run needs: one line a check, and below what fails the command that mends it.

    Changes nothing. One word is embedded, to see whether the provider takes the key; its price is told. Exits 1 when
    anything stands in the way.

    \b
      millrace doctor
      millrace doctor --offline --skip lease
    """
    from millrace.flows.commands.doctor.diagnosis import diagnose

    found = diagnose(config=settings_file(config), overrides=overrides, offline=offline, skip=skip)
    finish(found, as_json=as_json)
