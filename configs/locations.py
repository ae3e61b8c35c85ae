"""Where a run whose settings are wrong leaves its traces: what can be relied upon of settings that do not load.

A wrong key or value voids the place that it names, and no other: with a wrong `chunking.max_tokens` lake and metrics
are where they always were.
"""

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from millrace.configs.settings import ENVIRONMENT_PREFIX, Settings, load_settings
from millrace.tasks.errors import ConfigurationError

_LAKE = ("lake.path", "lake.endpoint", "lake.region", "lake.virtual_hosting", "lake.local_dir")
_METRICS = ("metrics.textfile_dir",)
_COLLECTION = "milvus.collection"


def lake_location(
    config: Path | None, overrides: Iterable[str], environment: Mapping[str, str] | None = None
) -> Settings | None:
    """Settings whose lake and collection are those that were meant; None where that cannot be made out."""
    return _located(_LAKE, config, overrides, environment)


def metrics_location(
    config: Path | None, overrides: Iterable[str], environment: Mapping[str, str] | None = None
) -> Settings | None:
    """Settings whose textfile folder and collection are those that were meant; None where that cannot be made out."""
    return _located(_METRICS, config, overrides, environment)


def _located(
    keys: tuple[str, ...], config: Path | None, overrides: Iterable[str], environment: Mapping[str, str] | None
) -> Settings | None:
    environment = os.environ if environment is None else environment
    wanted = (*keys, _COLLECTION)
    given = {key: environment[name] for key in wanted if (name := _variable(key)) in environment}
    for assignment in overrides:
        key, equals, text = assignment.partition("=")
        if equals and key.strip() in wanted:
            given[key.strip()] = text
    of_file = _of_file(config, wanted)
    if of_file is None and not {keys[0], _COLLECTION} <= given.keys():
        return None
    try:
        return load_settings(None, [f"{key}={text}" for key, text in {**(of_file or {}), **given}.items()], {})
    except ConfigurationError:
        return None


def _variable(key: str) -> str:
    return ENVIRONMENT_PREFIX + key.replace(".", "__").upper()


def _of_file(config: Path | None, wanted: Iterable[str]) -> dict[str, str] | None:
    """What the file says of the wanted keys; None when it cannot be read."""
    if config is None:
        return {}
    try:
        values = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return None
    sections = {name: keys for name, keys in values.items() if isinstance(keys, dict)}
    parted = ((key, *key.split(".")) for key in wanted)
    return {key: str(sections[section][name]) for key, section, name in parted if name in sections.get(section, {})}
