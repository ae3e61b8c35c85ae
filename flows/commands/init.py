"""A commented `millrace.toml` for a provider and a Milvus: asks nothing, and replaces no file unless it is told to.

The figures in the comments are those of the catalogue of models. Only what was named is set; the rest is for the user
to see, and to take the mark of a comment from.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from millrace.configs.settings import Settings, load_settings
from millrace.flows.monitoring.result import Result
from millrace.flows.wiring.embedding_model import API_KEY_VARIABLES, Model, load_model
from millrace.flows.wiring.lake_location import lake_path
from millrace.flows.wiring.milvus import redacted_uri
from millrace.tasks.embedding import ModelSpec
from millrace.tasks.errors import ConfigurationError, RunStopped
from millrace.tasks.milvus import is_lite


@dataclass(frozen=True, slots=True)
class WrittenSettings(Result):
    """The file that was written, and what it names; `key_variable` is "" where no key is asked for."""

    path: str
    provider: str
    model: str
    milvus_uri: str
    lake: str
    collection: str
    key_variable: str

    def lines(self) -> list[str]:
        """What is in the file, and what to type next."""
        return [
            f"wrote {self.path}: {self.model} of {self.provider}; lake {self.lake}; collection {self.collection} at "
            f"{self.milvus_uri}",
            "next:",
            *(
                [f"  export {self.key_variable}=...    # the key, which is never in a file"]
                if self.key_variable
                else []
            ),
            "  millrace doctor            # is everything there?",
            "  millrace plan SOURCE...    # what would it cost?",
            "  millrace ingest SOURCE...",
        ]


def write_settings(path: Path, overrides: Iterable[str], *, force: bool = False) -> WrittenSettings:
    """Write a file of settings to `path` with what `overrides` name, checked before anything is written.

    Raises:
        ConfigurationError: The settings cannot be right, or the file is there and `force` is false.
        RunStopped: The file cannot be written.
    """
    settings = load_settings(overrides=overrides, environment={})
    model = load_model(settings)
    lite, lake = is_lite(settings.milvus.uri), lake_path(settings)
    text = _text(settings, model, lite=lite)
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(f"{path} is there already; --force replaces it") from None
    except OSError as error:
        raise RunStopped(
            f"{path.absolute()} cannot be written: {error.strerror or error}; go to a folder where you may write, and "
            "run `millrace init` there"
        ) from error
    return WrittenSettings(
        path=str(path),
        provider=model.spec.provider,
        model=model.spec.name,
        milvus_uri=redacted_uri(settings),
        lake=str(lake),
        collection=settings.milvus.collection,
        key_variable="" if model.spec.provider == "openai" else API_KEY_VARIABLES.get(model.spec.provider, ""),
    )


def _text(settings: Settings, model: Model, *, lite: bool) -> str:
    template = files("millrace.configs").joinpath("init.toml").read_text(encoding="utf-8")
    embedding, milvus = settings.embedding, settings.milvus
    return Template(template).substitute(
        provider=_quoted(embedding.provider),
        model_line=_model_line(settings, model.spec),
        address_line=_address_line(settings, model.spec),
        key_lines=_key_lines(model.spec.provider),
        limit_lines=_limit_lines(model.spec),
        lake=_quoted(settings.lake.path),
        milvus=_quoted(milvus.uri)
        + ("    # a path ending in .db is Milvus Lite; a server: http://host:19530" if lite else ""),
        milvus_lines=(
            "# Milvus Lite serves one process on one machine, and some 50,000 rows well."
            if lite
            else f'# Where the server wants a password or an API key: export {milvus.token_env}="user:password"'
        ),
        collection=_quoted(milvus.collection),
    )


def _model_line(settings: Settings, spec: ModelSpec) -> str:
    price = f"¥{spec.price_cny_per_1k_tokens:g} per 1,000 tokens" if spec.price_cny_per_1k_tokens else ""
    remark = "; ".join(part for part in (f"{spec.default_dimensions:,} numbers a vector", price) if part)
    dimensions = settings.embedding.dimensions
    return "\n".join(
        [
            f"{'' if spec.provider != 'local' else '# '}model = {_quoted(spec.name)}    # {remark}",
            f"dimensions = {dimensions}" if dimensions else f"# dimensions = {spec.default_dimensions}",
        ]
    )


def _address_line(settings: Settings, spec: ModelSpec) -> str:
    if settings.embedding.base_url:
        return f"base_url = {_quoted(settings.embedding.base_url)}"
    return f"# base_url = {_quoted(spec.base_url)}" if spec.base_url else "# no address: the model is in this program"


def _key_lines(provider: str) -> str:
    variable = API_KEY_VARIABLES.get(provider)
    if variable is None:
        return "# and no key: it needs no network"
    when = ", where the server wants one" if provider == "openai" else ""
    return (
        f"# The key is in the environment variable {variable}{when}, never in a file:\n"
        f"#   export {variable}=...\n"
        f"# api_key_env = {_quoted(variable)}    # another variable"
    )


def _limit_lines(spec: ModelSpec) -> str:
    limits = {"requests_per_minute": spec.requests_per_minute, "tokens_per_minute": spec.tokens_per_minute}
    return "\n".join(f"# {name} = {value:.0f}{'' if value else '   # none is known'}" for name, value in limits.items())


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # which is a TOML string, too
