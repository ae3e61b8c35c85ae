"""Checks of the provider: the key, one request with it, and the limits that requests keep to."""

import asyncio
import time

from millrace.flows.commands.doctor.finding import Case, Finding, Skip, check
from millrace.flows.wiring.components import open_client, require_api_key
from millrace.flows.wiring.embedder import account_of
from millrace.flows.wiring.embedding_model import API_KEY_VARIABLES
from millrace.flows.wiring.lake_location import lake_path
from millrace.tasks.embedding import EmbeddingResponse, LearnedLimits, cost_cny, endpoint_url
from millrace.tasks.errors import ConfigurationError, LakeError, MillraceError, ProviderStopped, Throttled
from millrace.tasks.lake import Lake

_TEXT = "millrace"


@check
def key(case: Case) -> Finding:
    """Whether there is an API key, where one is needed; it is not shown."""
    model = case.need_model()
    variable = case.settings.embedding.api_key_env or API_KEY_VARIABLES.get(model.spec.provider, "")
    try:
        found = require_api_key(case.settings, model)
    except ConfigurationError as error:
        return Finding("fails", str(error), f"export {variable}=...")
    if found:
        return Finding("ok", f"{variable} is set (not shown)")
    return Finding(
        "ok", f"provider {model.spec.provider} needs none" + (f"; {variable} is not set" if variable else "")
    )


@check
def provider(case: Case) -> Finding:
    """Whether the provider takes key, model and dimensions: one request of one word, and what it cost."""
    spec = case.need_model().spec
    if spec.provider == "local":
        return Finding("ok", "not asked: the model is in this process")
    case.need_network()
    if case.settings.budget.max_cny == 0 and spec.price_cny_per_1k_tokens:
        raise Skip("not asked: budget.max_cny is 0")
    begun = time.monotonic()
    try:
        answer = asyncio.run(_asked(case))
    except MillraceError as error:
        return _refused(case, error)
    said = f"{spec.name} answered in {time.monotonic() - begun:.2f} s with {answer.vectors.shape[1]:,} numbers"
    if answer.billed_tokens is None:
        return Finding("ok", f"{said}; it did not say what it billed")
    price = f"¥{cost_cny(answer.billed_tokens, spec.price_cny_per_1k_tokens):.7f}" if spec.priced else "price not known"
    return Finding("ok", f"{said}; {answer.billed_tokens:,} tokens billed, {price}")


@check
def limits(case: Case) -> Finding:
    """The limits that requests keep to: the settings' or the catalogue's, and what runs have learned."""
    model = case.need_model()
    spec, own = model.spec, case.settings.limits
    if spec.provider == "local":
        return Finding("ok", "none: the model is in this process")
    rates = [
        (spec.requests_per_minute, own.requests_per_minute, "requests a minute"),
        (spec.tokens_per_minute, own.tokens_per_minute, "tokens a minute"),
    ]
    said = ", ".join(
        f"{value:,.0f} {what}{' (set)' if is_set else ''}" if value else f"no known limit of {what}"
        for value, is_set, what in rates
    )
    said += f", {spec.texts_per_request} texts a request, {model.max_in_flight} requests at once"
    if case.lake_is_remote and case.offline:
        return Finding("ok", said)
    try:
        lake = Lake.open(lake_path(case.settings), case.settings.milvus.collection, read_only=True)
        learned = LearnedLimits.from_values(lake.limits.read(account_of(case.settings, model)))
    except LakeError:  # which the check of the lake tells
        learned = LearnedLimits()
    details = [
        f"runs were refused at {value:,.1f} {what} a second, and keep below it"
        for value, what in ((learned.requests_per_second, "requests"), (learned.tokens_per_second, "tokens"))
        if value
    ]
    if own.shared_as:
        details.append(f"shared with other processes as {own.shared_as!r}, through Prefect")
    return Finding("ok", said, details=tuple(details))


async def _asked(case: Case) -> EmbeddingResponse:
    client = open_client(case.settings, case.model)
    try:
        return await client.embed([_TEXT])
    finally:
        await client.close()


def _refused(case: Case, error: MillraceError) -> Finding:
    """What a request that failed says of the settings."""
    spec, embedding = case.model.spec, case.settings.embedding
    if isinstance(error, Throttled):
        return Finding("note", f"busy, so the key was not proven: {error}")
    if isinstance(error, ProviderStopped):
        variable = embedding.api_key_env or API_KEY_VARIABLES[spec.provider]
        return Finding(
            "fails", str(error), f"export {variable}=...  # a key of {endpoint_url(spec, embedding.base_url)}"
        )
    if isinstance(error, ConfigurationError) and "needs an API key" in str(error):
        raise Skip("not asked: there is no key")
    return Finding("fails", str(error), case.correct("embedding.base_url", "https://HOST/v1"))
