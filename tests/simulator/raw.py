"""Requests to the simulator as bare HTTP, for tests that look at bodies as they are on the wire."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.simulator.settings import API_KEY


@dataclass(frozen=True)
class Reply:
    """One answer, decoded if it is JSON; else `body` is None."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    body: object

    def __getitem__(self, path: str) -> object:
        """What is at `path` in the body: `reply["output.embeddings.0.text_index"]`."""
        found: object = self.body
        for step in path.split("."):
            found = found[int(step)] if isinstance(found, list) else found[step]  # type: ignore[index]
        return found


def post(url: str, body: object, key: str | None = API_KEY, *, method: str = "POST") -> Reply:
    """The answer to `body` at `url`; `bytes` are sent as they are, `key` None sends no Authorization."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=20)
    try:
        headers = {"content-type": "application/json"} | ({} if key is None else {"authorization": f"Bearer {key}"})
        connection.request(method, parts.path, body if isinstance(body, bytes) else json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    try:
        decoded = json.loads(content)
    except json.JSONDecodeError:
        decoded = None
    return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, content, decoded)
