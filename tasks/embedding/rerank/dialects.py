"""The request body of each rerank API, and the validation of its answer.

Sources: Model Studio, text rerank API reference; iFlytek MaaS, rerank; the request models of vLLM
(`scoring/protocol.py`), Infinity (`pymodels.py`), Text Embeddings Inference (`http/types.rs`) and llama.cpp; all read
2026-11.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from millrace.tasks.embedding.providers.client import BilledInvalidResponse
from millrace.tasks.embedding.providers.error_rules import quoted
from millrace.tasks.embedding.providers.validation import decode_json, usage_tokens
from millrace.tasks.embedding.rerank.models import RerankSpec
from millrace.tasks.embedding.rerank.reranker import Ranked


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """A request for the `top_n` best of `documents`; `top_n` is at most their number. `instruct` "" is none."""

    model: str
    query: str
    documents: Sequence[str]
    top_n: int
    instruct: str = ""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the APIs.

    `returns` says how many results there must be: "top_n", one for "all" documents, or "either". `reports_usage` is
    False if answers have no usage. `truncation` are the fields with which the server cuts texts that are too long.
    """

    body: Callable[[RerankRequest], dict[str, object]]
    returns: Literal["top_n", "all", "either"]
    reports_usage: bool = True
    truncation: Mapping[str, object] = field(default_factory=dict)


def dialect_of(spec: RerankSpec, url: str) -> Dialect:
    """The dialect of `spec` at `url`."""
    match spec.provider, spec.api:
        case "dashscope", "native":
            return _NATIVE
        case "dashscope", _:
            return _COMPATIBLE
        case "iflytek", _:
            return _IFLYTEK
    parts = urlsplit(url).path.strip("/").split("/")
    return _VERSIONED if len(parts) > 1 and parts[-2] in {"v1", "v2", "v3"} else _BARE


def validate_ranking(
    body: object, *, sent: int, top_n: int, returns: Literal["top_n", "all", "either"]
) -> tuple[list[Ranked], int | None]:
    """The `top_n` best of the `sent` documents by a decoded answer, sorted by score, then index; and the tokens billed.

    Checked: as many results as `returns` says, each index one of those sent and none twice, each score a finite number.
    The tokens are None if the answer has no usage. Raises BilledInvalidResponse.
    """
    billed = usage_tokens(body)
    items = _items(body)
    expected = {"top_n": {top_n}, "all": {sent}, "either": {top_n, sent}}[returns]
    if items is None or len(items) not in expected:
        found = "no results" if items is None else f"{len(items)} results"
        message = (
            f"{' or '.join(map(str, sorted(expected)))} results were expected for {sent} documents, and {found} came"
        )
        raise BilledInvalidResponse(message, billed_tokens=billed)
    ranked: dict[int, Ranked] = {}
    for item in items:
        index, score = _index_and_score(item)
        if type(index) is not int or not 0 <= index < sent or index in ranked:
            message = f"a result is numbered {quoted(index, 80)}; expected 0 to {sent - 1}, none twice"
            raise BilledInvalidResponse(message, billed_tokens=billed)
        if type(score) not in {int, float} or not math.isfinite(score):
            message = f"the score of result {index} is {quoted(score, 80)}, not a finite number"
            raise BilledInvalidResponse(message, billed_tokens=billed)
        ranked[index] = Ranked(index, float(score))
    return in_order(ranked.values())[:top_n], billed


def in_order(ranked: Iterable[Ranked]) -> list[Ranked]:
    """Best first; equal scores in the order of their documents."""
    return sorted(ranked, key=lambda one: (-one.score, one.index))


def decode(body: bytes) -> object:
    """The JSON in `body`. Raises as `decode_json`."""
    return decode_json(body, url_setting="rerank.base_url")


def _items(body: object) -> list[object] | None:
    """The results, wherever the server puts them: TEI returns nothing else, early Infinity calls them `data`."""
    if isinstance(body, dict):
        output = body.get("output")
        inner = output if isinstance(output, dict) else body
        body = inner.get("results", inner.get("data"))
    return body if isinstance(body, list) else None


def _index_and_score(item: object) -> tuple[Any, Any]:
    if not isinstance(item, dict):
        return None, None
    return item.get("index"), item.get("relevance_score", item.get("score"))


def _plain(request: RerankRequest) -> dict[str, object]:
    return {"model": request.model, "query": request.query, "documents": list(request.documents)}


def _with_top_n(request: RerankRequest) -> dict[str, object]:
    return {**_plain(request), "top_n": request.top_n}


def _compatible(request: RerankRequest) -> dict[str, object]:
    return {**_with_top_n(request), **({"instruct": request.instruct} if request.instruct else {})}


def _native(request: RerankRequest) -> dict[str, object]:
    parameters: dict[str, object] = {"top_n": request.top_n, "return_documents": False}
    if request.instruct:
        parameters["instruct"] = request.instruct
    texts = {"query": request.query, "documents": list(request.documents)}
    return {"model": request.model, "input": texts, "parameters": parameters}


def _with_both_names(request: RerankRequest) -> dict[str, object]:
    return {**_with_top_n(request), "texts": list(request.documents)}


# The fields of vLLM and of TEI; each ignores the other's.
_TRUNCATION = {"truncate_prompt_tokens": -1, "truncate": True}

_COMPATIBLE = Dialect(_compatible, "top_n")
_NATIVE = Dialect(_native, "top_n")
_IFLYTEK = Dialect(_plain, "all")
_VERSIONED = Dialect(_with_top_n, "either", reports_usage=False, truncation=_TRUNCATION)
# /rerank without a version is TEI, which calls the documents `texts`, but also Infinity, vLLM and llama.cpp. Each
# ignores fields that it does not know, so no setting has to say which one it is.
_BARE = Dialect(_with_both_names, "either", reports_usage=False, truncation=_TRUNCATION)
