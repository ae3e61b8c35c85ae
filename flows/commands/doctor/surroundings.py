"""Checks of what is around: the clock of this machine, and the Prefect server."""

import base64
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version

import httpx

from millrace.flows.commands.doctor.finding import Case, Finding, State, check, environment
from millrace.flows.wiring.lake_location import lake_path
from millrace.tasks.embedding import endpoint_url
from millrace.tasks.errors import ConfigurationError
from millrace.tasks.lake import ObjectPath
from millrace.tasks.secrets import read_secret

_TIMEOUT_S = 5.0
_CLOCK_FAILS_S = 300.0
_CLOCK_NOTE_S = 30.0
_PREFECT = "http://127.0.0.1:4200/api"


@check
def clock(case: Case) -> Finding:
    """Whether this machine's clock goes with that of the first server that says the time."""
    case.need_network()
    for where in _addresses(case):
        try:
            answer = httpx.head(where, timeout=_TIMEOUT_S, follow_redirects=False)
            server_time = parsedate_to_datetime(answer.headers["date"])
        except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError):
            continue  # that it does not answer is told by its own check
        ahead_s = (datetime.now(UTC) - server_time).total_seconds()
        said = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} that of {where}"
        if abs(ahead_s) >= _CLOCK_FAILS_S:
            return Finding("fails", said, "sudo timedatectl set-ntp true")
        return Finding("note" if abs(ahead_s) >= _CLOCK_NOTE_S else "ok", said)
    return Finding("skipped", "no server that says the time")


@check
def prefect(case: Case) -> Finding:
    """Whether the Prefect API answers, in a version that goes with the one here."""
    address, own = environment("PREFECT_API_URL").rstrip("/"), version("prefect")
    if address and not address.startswith(("http://", "https://")):
        said = f"PREFECT_API_URL is {address!r}, which is no address of an API"
        return Finding("fails", said, f"export PREFECT_API_URL={_PREFECT}")
    if not address:
        return Finding("ok", f"{own} here; PREFECT_API_URL is not set, so runs appear in no UI")
    case.need_network()
    try:
        answer = httpx.get(f"{address}/admin/version", timeout=_TIMEOUT_S, headers=_credentials())
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        mend = f"prefect server start  # or, where it is elsewhere: export PREFECT_API_URL={_PREFECT}"
        return Finding("fails", f"the Prefect server at {address} does not answer: {error}", mend)
    return _of_server(address, answer, own)


def _of_server(address: str, answer: httpx.Response, own: str) -> Finding:
    """What a server's answer says of it, beside the version that is here."""
    if answer.status_code in {401, 403}:
        mend = "export PREFECT_API_AUTH_STRING=user:password  # of Prefect Cloud: PREFECT_API_KEY"
        return Finding("fails", f"{address} does not let us in (HTTP {answer.status_code})", mend)
    server = re.fullmatch(r'"((\d+)\.\d+)\.[^"]*"', answer.text.strip())
    if server is None:
        said = f"what answers at {address} is no Prefect API, whose address ends in /api"
        return Finding("fails", said, f"export PREFECT_API_URL={_PREFECT}")
    said = f"server {answer.json()} at {address}, {own} here"
    if own.startswith(f"{server[1]}."):
        return Finding("ok", said)
    state: State = "note" if own.startswith(f"{server[2]}.") else "fails"
    return Finding(state, f"{said}; only the same was tried", f'pip install "prefect=={own}"  # where the server runs')


def _addresses(case: Case) -> Iterator[str]:
    """HTTP addresses of the settings that may say the time."""
    try:
        if case.model.spec.provider != "local":
            yield endpoint_url(case.model.spec, case.settings.embedding.base_url)
    except ConfigurationError:
        pass
    if prefect_api := environment("PREFECT_API_URL"):
        yield prefect_api
    path = lake_path(case.settings)
    if isinstance(path, ObjectPath) and path.store.endpoint:
        yield path.store.endpoint
    if case.settings.milvus.uri.startswith("http"):
        yield case.settings.milvus.uri


def _credentials() -> dict[str, str]:
    """The header that lets us in, as Prefect's own client sends it."""
    if key := read_secret(os.environ, "PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    if pair := read_secret(os.environ, "PREFECT_API_AUTH_STRING"):
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}
