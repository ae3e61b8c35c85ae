"""Checks of the settings: whether they can be read, where each that was set came from, and the model they name."""

import re

from millrace.configs.settings import ENVIRONMENT, ENVIRONMENT_PREFIX, Settings
from millrace.flows.commands.doctor.finding import Case, Finding, check, environment
from millrace.flows.wiring.components import check_prefect
from millrace.tasks.errors import ConfigurationError


@check
def settings(case: Case) -> Finding:
    """Whether the settings can be read, and where each that was set is from."""
    if case.given is None:
        return Finding("fails", case.problem, _mend(case))
    origins = dict(case.given.origins)
    remembered = [key for key in _keys(case.settings) if _value(case.settings, key) != _value(case.given, key)]
    origins |= dict.fromkeys(remembered, "remembered by the lake")
    details = tuple(
        f"{key} = {_value(case.settings, key)}  ({_spelled(origin, key)})" for key, origin in sorted(origins.items())
    )
    try:
        check_prefect(case.settings)
    except ConfigurationError as error:
        return Finding("fails", str(error), "export PREFECT_API_URL=http://127.0.0.1:4200/api", details)
    said = f"{len(origins)} of {len(_keys(case.settings))} are set" if origins else "all are defaults"
    return Finding("ok", said, details=details)


@check
def model(case: Case) -> Finding:
    """Whether the model of the settings is known, and can do what they ask of it."""
    embedding = case.settings.embedding
    try:
        found = case.model
    except ConfigurationError as error:
        key = next((key for key in _keys(case.settings) if key in str(error)), "embedding.model")
        return Finding("fails", str(error), case.correct(key, "..."))
    price = f"¥{found.spec.price_cny_per_1k_tokens:g} per 1,000 tokens" if found.spec.priced else "price not known"
    price = "free" if embedding.provider == "local" else price
    said = f"{found.spec.name} of {embedding.provider}, {found.space.dimensions:,} numbers a vector, {price}"
    return Finding("note" if found.notes else "ok", said, details=found.notes)


def _mend(case: Case) -> str:
    """The command that mends settings that cannot be read, by what the message names."""
    if variable := re.search(rf"environment variable ({ENVIRONMENT_PREFIX}\w+)", case.problem):
        return f"unset {variable[1]}"
    if assigned := re.search(r"--set ([\w.]+)", case.problem):
        return f"millrace doctor  # without --set {assigned[1]}"
    key = re.search(r"\b([a-z]+)\.([a-z_]+) ?=", case.problem)
    if key and environment(variable_of := f"{ENVIRONMENT_PREFIX}{key[1]}__{key[2]}".upper()):
        return f"unset {variable_of}"
    if not case.config:
        return "millrace init"
    line = re.search(r"at line (\d+)", case.problem)
    return (
        f'"${{EDITOR:-vi}}"{f" +{line[1]}" if line else ""} {case.config}  # or write a new one: millrace init --force'
    )


def _keys(chosen: Settings) -> list[str]:
    return [f"{section}.{key}" for section, keys in chosen.model_dump().items() for key in keys]


def _value(chosen: Settings, key: str) -> object:
    section, _, name = key.partition(".")
    return getattr(getattr(chosen, section), name)


def _spelled(origin: str, key: str) -> str:
    if origin != ENVIRONMENT:
        return origin
    return f"environment variable {ENVIRONMENT_PREFIX}{key.upper().replace('.', '__')}"
