"""A provider that echoes the key, in whatever form and field, gets it into no message; and who else may read it."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from urllib.parse import quote

import orjson
import pytest

from millrace.tasks.embedding.models import find_model
from millrace.tasks.embedding.providers.factory import make_client
from millrace.tasks.embedding.rerank.factory import make_reranker
from millrace.tasks.embedding.rerank.models import find_reranker
from millrace.tasks.errors import MillraceError
from tests.tasks.embedding.hostile import Conversation, Say, hostile

KEY = 'q7/R+w="Zt&9-mill4race'
FORMS: dict[str, Callable[[str], str]] = {
    "as it is": lambda key: key,
    "url-encoded": lambda key: quote(key, safe=""),
    "base64": lambda key: base64.b64encode(f"user:{key}".encode()).decode(),
    "hex": lambda key: key.encode().hex(),
    "escaped": lambda key: "".join(f"\\u{ord(character):04x}" for character in key),
}


def error(field: str) -> Callable[[Conversation, str], tuple[bytes, str, bytes]]:
    def body(talk: Conversation, echo: str) -> tuple[bytes, str, bytes]:
        inner = {"message": "no", "code": "Odd", field: f"your key is {echo}"}
        return orjson.dumps({"error": inner, "request_id": inner.get("request_id", "")}), "400 Bad Request", b""

    return body


def item(**changes: str) -> Callable[[Conversation, str], tuple[bytes, str, bytes]]:
    def body(talk: Conversation, echo: str) -> tuple[bytes, str, bytes]:
        filled = {name: value.replace("KEY", echo) for name, value in changes.items()}
        data = [{"index": 0, "embedding": [1.0] * 256, **filled}]
        return orjson.dumps({"data": data, "results": data, "id": echo, "usage": {"total_tokens": 7}}), "200 OK", b""

    return body


PLACES: dict[str, Callable[[Conversation, str], tuple[bytes, str, bytes]]] = {
    "message": error("message"),
    "code": error("code"),
    "request id": error("request_id"),
    "detail": lambda talk, echo: (orjson.dumps({"detail": [{"msg": [{"a": echo}]}]}), "422 Odd", b""),
    "text of an error": lambda talk, echo: (b"x" * 150 + b" " + echo.encode() * 3, "403 Odd", b""),
    "web page": lambda talk, echo: (b"<p>" + echo.encode(), "200 OK", b""),
    "broken JSON": lambda talk, echo: (b'{"' + b"x" * 40 + echo.encode(), "200 OK", b""),
    "index": item(index="KEY"),
    "vector": item(embedding="KEY"),
    "score": item(relevance_score="KEY"),
    "header": lambda talk, echo: (b"{}", "500 Odd", b"x-request-id: " + echo.encode() + b"\r\n"),
    "encoding": lambda talk, echo: (b"{}", "200 OK", b"content-encoding: " + echo.encode() + b"\r\n"),
    "broken header": lambda talk, echo: (b"{}", "200 OK", b"\x00" + echo.encode() + b"\r\n"),
}


def saying(place: str, form: str) -> Say:
    async def say(talk: Conversation) -> None:
        assert talk.headers["authorization"] == f"bearer {KEY.lower()}"
        body, status, headers = PLACES[place](talk, FORMS[form](KEY))
        await talk.answer(body, status=status, headers=headers)

    return say


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["embedding", "rerank"])
async def test_an_echoed_key_is_in_no_error_and_no_answer(place: str, form: str, kind: str) -> None:
    async with hostile(saying(place, form)) as server:
        client = make_client(find_model("dashscope", ""), base_url=server.url, api_key=KEY, dimensions=256)
        reranker = make_reranker(find_reranker("dashscope", ""), base_url=server.url, api_key=KEY)
        shown = ""
        try:
            answer = await (client.embed(["a"]) if kind == "embedding" else reranker.rerank("q", ["a"], top_n=1))
            shown = repr(answer)
        except MillraceError as error:
            shown = json.dumps([str(error), repr(error), repr(vars(error))], ensure_ascii=False)
        await client.close()
        await reranker.close()
    shown = shown.replace("\\\\", "\\").lower()
    assert "***" in shown or (kind, place) == ("rerank", "vector")  # which it does not look at
    for echo in (KEY, *(echo(KEY) for echo in FORMS.values())):
        # Not a half of it either, where a message was cut.
        assert echo[:9].lower() not in shown
        assert echo[-9:].lower() not in shown


@pytest.mark.parametrize(
    ("url", "key", "warned"),
    [
        ("http://gateway.example/v1", "sk-plain-0123", True),
        ("http://10.1.2.3:8000/v1", "sk-plain-0123", True),
        ("http://127.evil.example/v1", "sk-plain-0123", True),
        ("http://gateway2.example/v1", "", False),
        ("https://gateway.example/v1", "sk-plain-0123", False),
        ("http://127.0.0.1:8000/v1", "sk-plain-0123", False),
        ("http://localhost:8000/v1", "sk-plain-0123", False),
        ("http://[::1]:8000/v1", "sk-plain-0123", False),
    ],
)
@pytest.mark.parametrize("kind", ["embedding", "rerank"])
def test_a_key_over_plain_http_to_another_host_is_warned_of(
    url: str, key: str, warned: bool, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        if kind == "embedding":
            make_client(find_model("openai", "bge-m3", base_url=url), base_url=url, api_key=key)
        else:
            make_reranker(find_reranker("openai", "bge"), base_url=url, api_key=key)
    assert any("others on the way can read it" in record.getMessage() for record in caplog.records) is warned
    assert key not in caplog.text or not key
