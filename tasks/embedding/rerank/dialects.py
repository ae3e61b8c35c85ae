"""How a question is put to each reranker, and what proves its answer.

Sources: Model Studio, text rerank API reference; iFlytek MaaS, rerank; the request models of vLLM
(`scoring/protocol.py`), Infinity (`pymodels.py`), Text Embeddings Inference (`http/types.rs`) and llama.cpp; all read
2026-11.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import orjson

from millrace.tasks.embedding.providers.client import BilledInvalidResponse, Unreachable
from millrace.tasks.embedding.rerank.models import RerankSpec
from millrace.tasks.embedding.rerank.reranker import Ranked


@dataclass(frozen=True, slots=True)
class Question:
    """One request: the `top_n` best of `documents`; `top_n` is at most their number. `instruct` "" is none."""

    model: str
    query: str
    documents: Sequence[str]
    top_n: int
    instruct: str = ""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of endpoint is spoken to.

    `answers` says for how many documents: as many as were "asked" for, "all", or "either". `bills` whether an answer
    tells its tokens. `cutting` are the fields that let the server cut what its model cannot read, where it has any.
    """

    body: Callable[[Question], dict[str, object]]
    answers: Literal["asked", "all", "either"]
    bills: bool = True
    cutting: Mapping[str, object] = field(default_factory=dict)


def dialect_of(spec: RerankSpec, url: str) -> Dialect:
    """How the endpoint of `spec` at `url` is spoken to."""
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
    body: object, *, sent: int, asked: int, answers: Literal["asked", "all", "either"]
) -> tuple[list[Ranked], int | None]:
    """The `asked` best of the `sent` documents by a decoded answer, sorted by score, then index; and the tokens billed.

    Proven: one result for each document that `answers` says, each index one of those sent and none twice, each score a
    finite number. Tokens are None if the answer does not tell them. Raises BilledInvalidResponse.
    """
    billed = _billed(body)
    items = _items(body)
    expected = {"asked": {asked}, "all": {sent}, "either": {asked, sent}}[answers]
    if items is None or len(items) not in expected:
        found = "no results" if items is None else f"{len(items)} results"
        message = (
            f"{' or '.join(map(str, sorted(expected)))} results were to come for {sent} documents, and {found} came"
        )
        raise BilledInvalidResponse(message, billed_tokens=billed)
    ranked: dict[int, Ranked] = {}
    for item in items:
        index, score = _index_and_score(item)
        if type(index) is not int or not 0 <= index < sent or index in ranked:
            message = f"a result is numbered {index!r}; expected 0 to {sent - 1}, none twice"
            raise BilledInvalidResponse(message, billed_tokens=billed)
        if type(score) not in {int, float} or not math.isfinite(score):
            message = f"the score of result {index} is {score!r}, not a finite number"
            raise BilledInvalidResponse(message, billed_tokens=billed)
        ranked[index] = Ranked(index, float(score))
    return in_order(ranked.values())[:asked], billed


def in_order(ranked: Iterable[Ranked]) -> list[Ranked]:
    """Best first; equals in the order of their documents."""
    return sorted(ranked, key=lambda one: (-one.score, one.index))


def decode(body: bytes) -> object:
    """The JSON in `body`. Raises Unreachable for a web page, BilledInvalidResponse for JSON that is not whole."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        start = body[:80].decode("utf-8", "replace")
        if body.lstrip()[:1] == b"<":
            message = f"the answer is a web page: {start!r}; check rerank.base_url and any proxy on the way"
            raise Unreachable(message) from None
        message = f"the answer is not whole JSON ({error}); it begins {start!r}"
        raise BilledInvalidResponse(message, billed_tokens=None) from None


def _items(body: object) -> list[object] | None:
    """The results, wherever the server puts them: TEI answers with nothing else, early Infinity calls them `data`."""
    if isinstance(body, dict):
        output = body.get("output")
        inner = output if isinstance(output, dict) else body
        body = inner.get("results", inner.get("data"))
    return body if isinstance(body, list) else None


def _index_and_score(item: object) -> tuple[Any, Any]:
    if not isinstance(item, dict):
        return None, None
    return item.get("index"), item.get("relevance_score", item.get("score"))


def _billed(body: object) -> int | None:
    usage = body.get("usage") if isinstance(body, dict) else None
    if isinstance(usage, dict):
        for key in ("total_tokens", "prompt_tokens"):
            if type(tokens := usage.get(key)) is int and tokens >= 0:
                return tokens
    return None


def _plain(question: Question) -> dict[str, object]:
    return {"model": question.model, "query": question.query, "documents": list(question.documents)}


def _with_top_n(question: Question) -> dict[str, object]:
    return {**_plain(question), "top_n": question.top_n}


def _compatible(question: Question) -> dict[str, object]:
    return {**_with_top_n(question), **({"instruct": question.instruct} if question.instruct else {})}


def _native(question: Question) -> dict[str, object]:
    parameters: dict[str, object] = {"top_n": question.top_n, "return_documents": False}
    if question.instruct:
        parameters["instruct"] = question.instruct
    texts = {"query": question.query, "documents": list(question.documents)}
    return {"model": question.model, "input": texts, "parameters": parameters}


def _with_both_names(question: Question) -> dict[str, object]:
    return {**_with_top_n(question), "texts": list(question.documents)}


# The fields of vLLM and of TEI; each takes no notice of the other's.
_CUTTING = {"truncate_prompt_tokens": -1, "truncate": True}

_COMPATIBLE = Dialect(_compatible, "asked")
_NATIVE = Dialect(_native, "asked")
_IFLYTEK = Dialect(_plain, "all")
_VERSIONED = Dialect(_with_top_n, "either", bills=False, cutting=_CUTTING)
# At /rerank without a version is TEI, which calls the documents `texts`, but also Infinity, and vLLM and llama.cpp once
# more. Each takes no notice of the names that it does not know, so that nobody has to say which one it is.
_BARE = Dialect(_with_both_names, "either", bills=False, cutting=_CUTTING)
