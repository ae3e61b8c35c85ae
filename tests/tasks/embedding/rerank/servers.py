"""Small servers that rerank, each in the words of one kind, for tests of the client; 127.0.0.1 only."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any]
"""A status, and a body: text as it is, anything else as JSON."""


@dataclass
class RerankServer:
    """Answers with what `reply` says of a request's path and body, and keeps both, with the key, in `requests`."""

    reply: Callable[[str, Any], Reply]
    requests: list[tuple[str, Any, str | None]] = field(default_factory=list)
    url: str = ""

    @property
    def bodies(self) -> list[Any]:
        return [body for _, body, _ in self.requests]


@contextmanager
def running(reply: Callable[[str, Any], Reply]) -> Iterator[RerankServer]:
    server = RerankServer(reply)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.requests.append((self.path, body, self.headers.get("authorization")))
            status, answer = server.reply(self.path, body)
            sent = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(sent)))
            self.send_header("x-request-id", f"request-{len(server.requests)}")
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def score_of(query: str, document: str) -> float:
    """The share of the query's letters that the document has: alike in whatever company."""
    return sum(letter in document for letter in query) / len(query)


def results(query: str, documents: list[str], *, score: str = "relevance_score") -> list[dict[str, Any]]:
    """One result a document, in their order."""
    return [{"index": index, score: score_of(query, document)} for index, document in enumerate(documents)]


def best_first(found: list[dict[str, Any]], *, score: str = "relevance_score") -> list[dict[str, Any]]:
    return sorted(found, key=lambda one: (-one[score], one["index"]))


def dashscope(path: str, body: Any) -> Reply:
    """Both of DashScope's APIs, as its reference has them."""
    if path == "/compatible-api/v1/reranks":
        found = best_first(results(body["query"], body["documents"]))[: body.get("top_n")]
        usage = {"total_tokens": 10 * len(body["documents"])}
        return 200, {"id": "a7fd", "object": "list", "model": body["model"], "results": found, "usage": usage}
    if path == "/api/v1/services/rerank/text-rerank/text-rerank":
        texts, parameters = body["input"], body["parameters"]
        found = best_first(results(texts["query"], texts["documents"]))[: parameters.get("top_n")]
        return 200, {
            "output": {"results": found},
            "usage": {"total_tokens": 10 * len(texts["documents"])},
            "request_id": "b8",
        }
    return 404, {"code": "NotFound", "message": "no such path"}


def iflytek(path: str, body: Any) -> Reply:
    """All documents, in no order."""
    assert path == "/v1/rerank"
    assert set(body) == {"model", "query", "documents"}
    found = results(body["query"], body["documents"])[::-1]
    usage = {"prompt_tokens": 90, "total_tokens": 90}
    return 200, {
        "id": "c9",
        "object": "xxxx",
        "created": 1,
        "model": "xop3qwen0b6reranker",
        "results": found,
        "usage": usage,
    }


def vllm(path: str, body: Any) -> Reply:
    """vLLM and whoever speaks as Jina does, at any of its three paths; names that it does not know are ignored."""
    assert path in {"/v1/rerank", "/v2/rerank", "/rerank"}
    found = best_first(results(body["query"], body["documents"]))
    for one in found:
        one["document"] = {"text": body["documents"][one["index"]]}
    usage = {"prompt_tokens": 7, "total_tokens": 7}
    return 200, {"id": "rerank-1", "model": body["model"], "usage": usage, "results": found[: body["top_n"] or None]}


def tei(path: str, body: Any) -> Reply:
    """Text Embeddings Inference: a bare list of all, for `texts`; 32 of them, of 9 characters each, unless it may cut."""
    if path != "/rerank":
        return 404, ""
    if "texts" not in body:
        return 422, "Failed to deserialize the JSON body into the target type: missing field `texts`"
    texts = body["texts"]
    if len(texts) > 32:
        words = f"batch size {len(texts)} > maximum allowed batch size 32"
        return 413, {"error": words, "error_type": "Validation"}
    longest = max(map(len, texts))
    if longest > 9 and not body.get("truncate"):
        words = f"Input validation error: `inputs` must have less than 9 tokens. Given: {longest}"
        return 413, {"error": words, "error_type": "Validation"}
    return 200, best_first(results(body["query"], [text[:9] for text in texts], score="score"), score="score")
