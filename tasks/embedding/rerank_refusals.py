"""What a refusal means when the texts are a question and what was found, so that a chunk's remedies do not fit."""

from collections.abc import Sequence
from dataclasses import replace

from tasks.embedding.translate import Rule

KEY_SETTING = "rerank.api_key_env (empty: embedding.api_key_env)"

_REMEDY = 'search without reranking (rerank.provider = "none"), or for something else'

# Before the provider's own rules: what every kind of server says, and what the user can do about it here.
_FIRST = (
    Rule(
        "stop",
        f"check the key in the variable that {KEY_SETTING} names; keys belong to one region (rerank.base_url)",
        codes=frozenset(["invalid_api_key", "invalidapikey"]),
        statuses=frozenset([401]),
    ),
    Rule(
        "stop",
        "check rerank.model and rerank.api; what is at this address does not offer this model",
        codes=frozenset(["modelnotfound", "model_not_found", "model_not_supported"]),
        phrases=("unsupported model", "model not exist", "invalid model", "does not exist"),
    ),
    Rule(
        "stop",
        "check rerank.base_url: /v1/rerank for most servers, /rerank for TEI",
        statuses=frozenset([404, 405, 301, 302, 307, 308]),
    ),
    Rule(
        "refuse",
        "cut smaller chunks (chunking.max_tokens), or use a model that reads more",
        "text_too_long",
        phrases=(
            *(
                "range of input length should be",
                "maximum context length",
                "must have less than",
            ),  # DashScope, vLLM, TEI
            "too large to process",  # llama.cpp, with a status of 500
        ),
    ),
    Rule(
        "refuse",
        "set search.top_k lower",
        "request_too_large",
        codes=frozenset(["badrequest.toolarge"]),
        phrases=("batch size",),
        statuses=frozenset([413]),
    ),
    Rule("wait", "the server cannot compute it now", statuses=frozenset([424])),  # TEI, when its model fails
)


def rules_for_reranking(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The provider's `rules` in the words of a search."""
    return (*_FIRST, *(replace(rule, remedy=_REMEDY) if rule.verdict == "refuse" else rule for rule in rules))
