"""Parameters of the flows: the form that the Prefect UI draws, and the values that its API refuses.

A dozen settings that differ between deployments; empty fields come from the configuration file and the
environment of the machine that runs the flow. A secret is never among them: Prefect keeps and shows parameters.
"""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from millrace.configs.settings import Settings, load_settings

_NO_PASSWORD = r"^[^@]*$"  # noqa: S105 - a pattern that keeps them out

_KEYS = {
    "collection": "milvus.collection",
    "milvus_uri": "milvus.uri",
    "lake": "lake.path",
    "provider": "embedding.provider",
    "model": "embedding.model",
    "max_tokens": "chunking.max_tokens",
    "max_cny": "budget.max_cny",
    "max_removed_share": "sources.max_removed_share",
    "include": "sources.include",
    "exclude": "sources.exclude",
}


class CorpusParameters(BaseModel):
    """Which collection and lake; empty fields come from the configuration file, then from the defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config_file: Annotated[
        str,
        Field(
            title="Configuration file",
            description="TOML file with settings, on the machine that runs the flow. The fields below come before it.",
        ),
    ] = ""
    collection: Annotated[
        str, Field(description="Name of the Milvus collection.", pattern=r"^([A-Za-z_][A-Za-z0-9_]{0,254})?$")
    ] = ""
    milvus_uri: Annotated[
        str,
        Field(
            title="Milvus URI",
            description="A path that ends in .db for Milvus Lite, or http://host:19530. The password goes into the "
            "environment variable that milvus.token_env names, never in here.",
            pattern=_NO_PASSWORD,
        ),
    ] = ""
    lake: Annotated[str, Field(description="Folder of the Parquet files, or s3://bucket/prefix.")] = ""

    def settings(self) -> Settings:
        """All settings: the fields that are filled in, over the environment, the file and the defaults.

        Raises `ConfigurationError` as `load_settings` does.
        """
        return load_settings(*self.given())

    def given(self) -> tuple[Path | None, list[str]]:
        """The file of settings, and the fields that are filled in as settings over it."""
        filled = self.model_dump(exclude_none=True)
        given = {key: filled[name] for name, key in _KEYS.items() if filled.get(name) not in ("", None)}
        overrides = [f"{key}={_spelled(value)}" for key, value in given.items()]
        return Path(self.config_file) if self.config_file else None, overrides


class IngestParameters(CorpusParameters):
    """What to index and how; empty fields come from the configuration file, then from the defaults."""

    sources: Annotated[
        list[str],
        Field(
            description="Files and folders to index, as absolute paths on the machine that runs the flow.", min_length=1
        ),
    ]
    provider: Annotated[
        Literal["", "local", "dashscope", "iflytek", "openai"],
        Field(description="Who makes the vectors. The API key comes from the environment of the worker."),
    ] = ""
    model: Annotated[str, Field(description="Embedding model, e.g. text-embedding-v4.")] = ""
    max_tokens: Annotated[
        int | None, Field(title="Tokens a chunk", description="Longest chunk, in tokens.", ge=1, le=8191)
    ] = None
    max_cny: Annotated[
        float | None, Field(title="Budget (yuan)", description="The run stops before it costs more than this.", ge=0)
    ] = None
    max_removed_share: Annotated[
        float | None,
        Field(
            title="Removed documents allowed",
            description="Share of the known documents that may be gone from the sources (0 to 1) before the run "
            "refuses to delete their rows.",
            ge=0,
            le=1,
        ),
    ] = None
    include: Annotated[
        list[str] | None, Field(description="Globs of files to take, e.g. *.pdf; empty takes every known format.")
    ] = None
    exclude: Annotated[list[str] | None, Field(description="Globs of files to leave out.")] = None
    reread: Annotated[
        str,
        Field(
            title="Compare the bytes of",
            description="Glob of files, e.g. *.pdf or *, whose bytes are compared whatever their size and times say.",
        ),
    ] = ""


class VerifyParameters(CorpusParameters):
    """What to compare; empty fields come from the configuration file, then from the defaults."""

    sources: Annotated[
        list[str],
        Field(description="Files and folders to compare with; empty compares with the files that were read."),
    ] = []
    reread: Annotated[
        str,
        Field(
            title="Compare the bytes of",
            description="Glob of files, e.g. *.pdf or *, whose bytes are compared whatever their size and times say.",
        ),
    ] = ""
    repair: Annotated[
        bool,
        Field(description="Repair differences from the lake, and embed only texts without a vector in it."),
    ] = False


def source_paths(parameters: IngestParameters | VerifyParameters) -> list[Path]:
    """The sources as absolute paths."""
    return [Path(source).absolute() for source in parameters.sources]


def _spelled(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
